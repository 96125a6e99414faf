"""Equivariance measures and retrieval by predicted embeddings."""
