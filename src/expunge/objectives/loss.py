"""Losses, and the decorator `loss` that makes one of a function.

A loss sees outputs of models, never a model. It returns one number a token or one a sequence; the trainer divides
their sum by the tokens or sequences of the whole optimiser step, so that batch 32 and 8 × 4 accumulation, on one
process or on two, give the same step. A new loss is a function of `Outputs` whose keyword arguments, with their
defaults, are its hyper-parameters in the recipe. Their types limit the values, by pydantic's names:
`PositiveFloat`, `NonNegativeInt`, or `float` for any number. `registry` names it, or the entry point of a package.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_type_hints

from pydantic import BaseModel, create_model
from torch import Tensor

from ..models.answers import AnswerTokens

#: A loss may ask for these: further forward passes, without gradient, or more than logits.
Need = Literal["original", "reinforced", "hidden"]
#: A forget loss changes one of these: how likely the true answers are, or what the model answers in their place.
Aim = Literal["probabilities", "answers"]


@dataclass(frozen=True)
class Outputs:
    """The outputs that a loss is computed from, all of the same samples.

    tokens:              the answers under the model that is trained
    original:            the same under the original model (the adapters disabled)
    reinforced:          the same under the original with an adapter that was first trained on the forget set
    substitute:          another answer to every question (a refusal, an alternate) under the trained model
    original_substitute: the same under the original model
    Outputs that the loss does not ask for are None.
    """

    tokens: AnswerTokens
    original: AnswerTokens | None = None
    reinforced: AnswerTokens | None = None
    substitute: AnswerTokens | None = None
    original_substitute: AnswerTokens | None = None


Compute = Callable[..., Tensor]


class Hyperparameters(BaseModel):
    """The hyper-parameters of a loss, as fields with type and default; here none."""


@dataclass(frozen=True)
class Loss:
    """A forget loss or a retain loss.

    compute:    (outputs, **hyper-parameters) → (N,) per token or (B,) per sequence
    unit:       `compute` returns a number per unit, token or sequence, and the sum is divided by their number
    needs:      the outputs beside `tokens` that it uses; `hidden` is the `hidden` of the tokens
    substitute: the kind of answers that it is given beside the true ones
    instead:    whether it sees the substitutes as `tokens` and the true answers not at all
    aims:       of a forget loss, the way to judge it: by the probabilities of the true answers, or by the answers that
                the model writes
    settings:   its hyper-parameters, with their types and defaults
    """

    compute: Compute
    unit: Literal["token", "sequence"]
    formula: str
    paper: str
    published: str = ""
    needs: frozenset[Need] = frozenset()
    substitute: Literal["refusal", "alternate"] | None = None
    instead: bool = False
    aims: Aim = "probabilities"
    settings: type[Hyperparameters] = Hyperparameters

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Name → default."""
        return {name: field.default for name, field in self.settings.model_fields.items()}

    def __call__(self, outputs: Outputs, **hyperparameters: float) -> Tensor:
        return self.compute(outputs, **hyperparameters)


def loss(
    *,
    unit: Literal["token", "sequence"],
    formula: str,
    paper: str,
    published: str = "",
    needs: tuple[Need, ...] = (),
    substitute: Literal["refusal", "alternate"] | None = None,
    instead: bool = False,
    aims: Aim = "probabilities",
) -> Callable[[Compute], Loss]:
    """The decorated function as a `Loss`; its keyword arguments are its hyper-parameters."""

    def decorate(compute: Compute) -> Loss:
        types = get_type_hints(compute, include_extras=True)
        fields = {
            parameter.name: (types[parameter.name], parameter.default)
            for parameter in inspect.signature(compute).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        settings = create_model(compute.__name__, __base__=Hyperparameters, **fields)  # type: ignore[call-overload]
        return Loss(
            compute, unit, formula, paper, published, frozenset(needs), substitute, instead, aims, settings
        )

    return decorate
