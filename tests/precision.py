"""What fp32 promises: how far apart two ways of computing the same log-probabilities may end.

Kernels (AVX2, AVX-512, AMX), their blocking and the number of threads order the same additions differently. A sum of
n rounded products then differs by about √n · u of its size, u = 2⁻²⁴, as rounding errors have random signs (Higham and
Mary 2019, a new approach to probabilistic rounding error analysis). Every linear layer on the way adds as much, and a
log-probability is the difference of two logits. So the bound is on a token's log-probability; a perplexity in the
thousands is its exponential, and promises nothing.
"""

from __future__ import annotations

import math
from typing import Any

from expunge.models.linear import linear_layers, matrix_shape

UNIT_ROUNDOFF = 2.0**-24


def fp32_log_probability_tolerance(model: Any, largest: float) -> float:
    """Nats between the log-probabilities of one token, computed in two orders.

    model:   its linear layers on a path from the embedding to the logits are counted, the output embedding with them
    largest: the largest |log-probability|, which stands for the size of the logits
    """
    shapes = [matrix_shape(layer) for layer in linear_layers(model).values()]
    width = max(max(shape) for shape in shapes)
    return 2 * (len(shapes) + 1) * math.sqrt(width) * UNIT_ROUNDOFF * max(1.0, largest)
