"""The audit of an encoder: which augmentation factors can be read from its features."""
