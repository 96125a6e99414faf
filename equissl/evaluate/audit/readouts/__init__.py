"""What an audit reads from features: probes' scores with intervals, and the files they are kept in."""
