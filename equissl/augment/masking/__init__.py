"""Patch masks and random erasing."""
