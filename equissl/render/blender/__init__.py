"""Renders in 3DIEBench's layout by Blender."""
