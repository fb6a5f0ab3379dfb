"""Evaluation: a model is measured into a log, question by question; figures are computed from logs.

    likelihood, generation, sampling, gradient_norm   a model and examples → numbers and text
    log, metric, measures, set_metrics, membership    what one evaluation recorded, and the figures made of it
    rouge, fluency                                    figures of texts

Nothing is imported here, and what is computed from logs alone imports no torch.
"""
