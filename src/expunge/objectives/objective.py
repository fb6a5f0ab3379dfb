"""The objective of training: weighted losses, summed over a micro-batch and normalised over the optimiser step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from .loss import Aim, Loss, Need, Outputs
from .registry import forget_losses, retain_losses
from .weight import Weight

#: The side whose examples a loss looks at.
Side = Literal["forget", "retain"]


@dataclass(frozen=True)
class StepTotals:
    """Label tokens and sequences that a term sees in a whole optimiser step: all micro-batches, all processes."""

    tokens: float
    sequences: float


@dataclass(frozen=True)
class Term:
    """A loss of one side's examples, and what it counts. Its weight is fixed, or moves from step to step."""

    loss: Loss
    side: Side = "forget"
    weight: Weight = field(default_factory=Weight)


@dataclass(frozen=True)
class Objective:
    """The quantity that training minimises: the weighted sum of its terms.

    hyperparameters: of the terms' losses, by name; one that is not given has the loss's own default
    """

    terms: Sequence[Term]
    hyperparameters: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def named(
        cls,
        forget: str,
        retain: str = "none",
        weight: Weight | None = None,
        hyperparameters: Mapping[str, float] | None = None,
    ) -> Objective:
        """From the names in a recipe; `weight` is the retain loss's. Raises `InputError` for an unknown name."""
        terms = [Term(forget_losses[forget])]
        if retain != "none":
            terms.append(Term(retain_losses[retain], "retain", weight or Weight()))
        return cls(terms, hyperparameters or {})

    def sees(self, side: Side) -> bool:
        """Whether a term looks at the examples of this side."""
        return any(term.side == side for term in self.terms)

    @property
    def walked(self) -> Side:
        """The set that an epoch walks through; where it is the retain set, nothing of the forget set is seen."""
        return "forget" if self.sees("forget") else "retain"

    @property
    def substitute(self) -> Literal["refusal", "alternate"] | None:
        """The kind of answers that a term is given beside the true ones, or instead of them."""
        return next((term.loss.substitute for term in self.terms if term.loss.substitute), None)

    @property
    def instead(self) -> bool:
        """Whether the substitutes stand in the place of the true answers, which no term sees."""
        return any(term.loss.instead for term in self.terms)

    @property
    def aims(self) -> Aim:
        """The measure by which the epoch is chosen and the result judged: the answers where a term aims at them."""
        return "answers" if any(term.loss.aims == "answers" for term in self.terms) else "probabilities"

    def needs(self, need: Need) -> bool:
        return any(need in term.loss.needs for term in self.terms)

    @property
    def hidden_layer(self) -> int | None:
        """The block whose hidden states the losses see."""
        looking = (term.loss for term in self.terms if "hidden" in term.loss.needs)
        return next((int(self._settings(loss)["layer"]) for loss in looking), None)

    @property
    def last_block(self) -> int | None:
        """The last block that gets a gradient; None where a loss looks at the logits, so that all do."""
        return self.hidden_layer if all("hidden" in term.loss.needs for term in self.terms) else None

    def share(self, term: Term, outputs: Outputs, totals: StepTotals) -> Tensor:
        """This micro-batch's share of the step's mean of a term's loss, before its weight, a scalar."""
        losses = term.loss.compute(outputs, **self._settings(term.loss))
        if term.loss.unit == "sequence":  # a row without labels is no sequence
            return losses[outputs.tokens.token_counts > 0].sum() / max(totals.sequences, 1.0)
        return losses.sum() / max(totals.tokens, 1.0)

    def _settings(self, loss: Loss) -> dict[str, float]:
        return {
            name: self.hyperparameters.get(name, default) for name, default in loss.hyperparameters.items()
        }
