"""Studies: many pretraining runs under one protocol, one table and one figure."""
