"""Augmentations of color."""
