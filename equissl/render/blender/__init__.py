"""Rendering datasets in the layout of 3DIEBench with Blender."""
