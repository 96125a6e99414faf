"""Losses on embeddings as pure functions, one family per file."""
