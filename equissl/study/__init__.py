"""Studies: pretraining runs under one protocol, with a table and a figure of their scores."""
