"""Recipes as data: serialization, overrides by path, discovery of what the package offers."""
