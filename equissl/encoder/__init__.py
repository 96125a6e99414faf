"""Backbones, named parts of the features, heads."""
