"""Protocols to trials, embeddings to scores, scores to error rates with honest intervals. NumPy only."""
