"""Run folders: reading, writing, loading a model from one, and exporting it."""
