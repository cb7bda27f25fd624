"""The networks that quality metrics look through, as their authors run them, and their weights."""
