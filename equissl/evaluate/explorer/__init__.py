"""Data of the steering explorer and of the image galleries of a report."""
