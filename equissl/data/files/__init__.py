"""Folders of image files: scanning, decoding, labels, splits and checks."""
