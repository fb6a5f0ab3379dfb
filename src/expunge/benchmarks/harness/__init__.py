"""lm-evaluation-harness (Gao et al.) on a model in memory; WMDP and the reasoning sets of TDEC run through it.

It comes with the optional extra `eval` and is imported when a benchmark of this folder is opened, not before.
"""
