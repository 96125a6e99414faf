"""Solids, the built-in synthetic benchmark: a ray marcher in torch."""
