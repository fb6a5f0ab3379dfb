"""A loss, an estimator, two metrics and a benchmark for expunge."""
