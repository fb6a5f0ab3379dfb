"""The benchmarks, a folder each: its data section, its files, its metrics, its options for `expunge eval`."""
