"""Studies: functions that return one. Found by walking; ``grid.grid`` goes by ``grid``."""
