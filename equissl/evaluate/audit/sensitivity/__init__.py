"""How far features move under one augmentation at a time."""
