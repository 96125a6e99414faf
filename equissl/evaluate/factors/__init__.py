"""Regression and classification of factors, absolute or relative, from frozen features."""
