"""Large archives: packing, reading packed images, downloads."""
