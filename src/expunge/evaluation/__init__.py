"""Evaluation: a model is measured into a log, question by question; metrics are computed from logs.

    likelihood, generation   a model and examples → numbers and text
    log, metric              what one evaluation found, per question, and the figures made of it
    benchmark, benchmarks    what a benchmark is, and all of them by name
    score                    metrics from log files of three formats

Nothing is imported here: figures are computed from logs, and reports are drawn, without loading torch.
"""
