"""Ray marcher in torch for Solids, the built-in synthetic benchmark."""
