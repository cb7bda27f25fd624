"""Flax modules: windows and masks → unit embeddings and attention."""
