"""Pixels → tracks → windows: landmark sets, normalisations, window cutting. NumPy only."""
