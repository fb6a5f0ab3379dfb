"""TDEC, the Training Data Extraction Challenge: how much of a memorised sequence a model still writes by itself.

extraction   the extraction likelihood of sequences, all prefixes at once
benchmark    the benchmark, and the same metrics on held-out text for thresholds
"""
