"""Studies shipped with equissl: functions that return a ``Study``."""
