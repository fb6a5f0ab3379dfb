"""A loss, an estimator and a benchmark for expunge, a file each."""
