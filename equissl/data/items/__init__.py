"""Samples of torch datasets: what a sample may hold, and how it is read."""
