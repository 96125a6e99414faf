"""Studies shipped with equissl: functions that return one."""
