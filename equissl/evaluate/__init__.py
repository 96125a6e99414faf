"""Evaluations of frozen features, one file each."""
