"""Evaluation: a model is measured into a log, question by question; metrics are computed from logs.

    likelihood, generation   a model and examples → numbers and text
    log, metric              what one evaluation found, per question, and the figures made of it
    benchmark                what a benchmark is; `tofu.benchmark` and `memorization` are the two
    score                    metrics from log files of three formats

Nothing is imported here: figures are computed from logs, and reports are drawn, without loading torch.
"""
