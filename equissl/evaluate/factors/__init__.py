"""How well known factors, absolute or relative, are read from features."""
