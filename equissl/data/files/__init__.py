"""Folders of image files: scanning, decoding, labels, splits and a summary."""
