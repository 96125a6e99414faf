"""Large archives: download, packing into shards, and datasets on packs."""
