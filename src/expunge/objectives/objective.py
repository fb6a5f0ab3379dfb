"""forget loss + λ · retain loss, summed over a micro-batch and normalised over the optimiser step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from .loss import Loss, Need, Outputs
from .registry import forget_losses, retain_losses
from .retain_weight import RetainWeight


@dataclass(frozen=True)
class StepTotals:
    """Label tokens and sequences of a whole optimiser step: all micro-batches, all processes."""

    forget_tokens: float
    forget_sequences: float
    retain_tokens: float
    retain_sequences: float


@dataclass(frozen=True)
class Objective:
    """What training minimises. `retain` is None where the forget loss stands alone.

    over: the set that an epoch walks through. Where it is the retain set, `forget` is a loss of retain examples, and
          the forget set is not seen.
    """

    forget: Loss
    retain: Loss | None
    weight: RetainWeight = field(default_factory=RetainWeight)
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    over: Literal["forget", "retain"] = "forget"

    @classmethod
    def named(
        cls,
        forget: str,
        retain: str = "none",
        weight: RetainWeight | None = None,
        hyperparameters: Mapping[str, float] | None = None,
    ) -> Objective:
        """From the names in a recipe. Raises `InputError` for an unknown one."""
        chosen = None if retain == "none" else retain_losses[retain]
        return cls(forget_losses[forget], chosen, weight or RetainWeight(), hyperparameters or {})

    def needs(self, need: Need) -> bool:
        return any(need in loss.needs for loss in (self.forget, self.retain) if loss)

    @property
    def hidden_layer(self) -> int | None:
        """The block whose hidden states the losses see."""
        if not self.needs("hidden"):
            return None
        return int(self._settings(self.forget if "hidden" in self.forget.needs else self.retain)["layer"])

    @property
    def last_block(self) -> int | None:
        """The last block that gets a gradient; None where a loss looks at the logits, so that all do."""
        losses = [loss for loss in (self.forget, self.retain) if loss]
        return self.hidden_layer if all("hidden" in loss.needs for loss in losses) else None

    def forget_loss(self, outputs: Outputs, totals: StepTotals) -> Tensor:
        """This micro-batch's share of the step's mean forget loss, a scalar."""
        return self._share(self.forget, outputs, totals.forget_tokens, totals.forget_sequences)

    def retain_loss(self, outputs: Outputs, totals: StepTotals) -> Tensor:
        """This micro-batch's share of the step's mean retain loss, before λ, a scalar."""
        if self.retain is None:
            return torch.zeros((), device=outputs.tokens.logits.device)
        return self._share(self.retain, outputs, totals.retain_tokens, totals.retain_sequences)

    def _settings(self, loss: Loss | None) -> dict[str, float]:
        assert loss is not None
        return {
            name: self.hyperparameters.get(name, default) for name, default in loss.hyperparameters.items()
        }

    def _share(self, loss: Loss, outputs: Outputs, step_tokens: float, step_sequences: float) -> Tensor:
        found = loss.compute(outputs, **self._settings(loss))
        if loss.unit == "sequence":  # a row without labels is no sequence
            return found[outputs.tokens.token_counts > 0].sum() / max(step_sequences, 1.0)
        return found.sum() / max(step_tokens, 1.0)
