"""Numbers to JSON, Markdown, figures and one self-contained HTML page. NumPy and matplotlib only."""
