"""Every benchmark has a folder: its data section, its files, its metrics, its options for `expunge eval`."""
