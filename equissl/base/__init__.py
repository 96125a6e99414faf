"""Invariance objectives, one file each."""
