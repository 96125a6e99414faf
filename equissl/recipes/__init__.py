"""Published and small recipes, as functions that return plain data."""
