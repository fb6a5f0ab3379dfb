"""Token statistics as a loop over tokens: the oracle of the fused ones."""

from __future__ import annotations

import torch

from expunge.data.encoding import Example
from expunge.models.answers import IGNORED


def token_by_token(model: torch.nn.Module, example: Example) -> tuple[list[float], list[float]]:
    """log p and (log p − μ) / σ of every label, in fp64 from the model's own logits, one place at a time."""
    with torch.no_grad():
        logits = model(torch.tensor([example.input_ids])).logits[0].double()
    plain, standardised = [], []
    for place in range(1, len(example)):
        target = example.labels[place]
        if target == IGNORED:
            continue
        log_p = torch.log_softmax(logits[place - 1], dim=-1)
        p = log_p.exp()
        mean = (p * log_p).sum()
        deviation = ((p * (log_p - mean) ** 2).sum()).sqrt()
        plain.append(log_p[target].item())
        standardised.append(((log_p[target] - mean) / deviation).item())
    return plain, standardised
