"""`floor`: tokens are made less likely until they are no likelier than a floor."""

from __future__ import annotations

import math

import torch
from pydantic import PositiveFloat
from torch import Tensor

from expunge.objectives.loss import Outputs, loss


@loss(unit="token", formula="max(0, log p(x_t) − log φ)", paper="none; an example")
def hinge_above_a_floor(outputs: Outputs, *, phi: PositiveFloat = 0.001) -> Tensor:
    """max(0, log p(x_t | x_<t) − log φ), (N,) fp32: no gradient where a token is less likely than φ."""
    return torch.relu(outputs.tokens.log_probability - math.log(phi))
