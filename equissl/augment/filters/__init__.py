"""Blur, sharpness and noise."""
