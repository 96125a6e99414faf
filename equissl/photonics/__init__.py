"""Two-dimensional photonic crystals: random unit cells, their bands, and their density of states."""
