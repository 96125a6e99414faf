"""Equivariance modules, one file each."""
