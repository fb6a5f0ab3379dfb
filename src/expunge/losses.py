"""Every registered loss as a function of logits and labels, for any training loop.

    from expunge import losses

    loss = losses.ihl(model(**forget).logits, forget["labels"]) + losses.nll(model(**retain).logits, retain["labels"])

`losses.NAME` is a `StandaloneLoss`, whose call has shapes, masks and what some losses need beside: the forget loss of
that name (`objective.forget` in a recipe), or else the retain loss (`objective.retain`), those of installed packages
too. `rmu` names one of either: `losses.retain("rmu")` is the retain loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .objectives.registry import forget_losses, retain_losses

if TYPE_CHECKING:
    from .objectives.standalone import StandaloneLoss


def forget(name: str) -> StandaloneLoss:
    """The forget loss that recipes call `name`. Raises `InputError` for an unknown one, with the nearest name."""
    from .objectives.standalone import StandaloneLoss  # it loads torch

    return StandaloneLoss(name, forget_losses[name])


def retain(name: str) -> StandaloneLoss:
    """The retain loss that recipes call `name`. Raises `InputError` for an unknown one, with the nearest name."""
    from .objectives.standalone import StandaloneLoss  # it loads torch

    return StandaloneLoss(name, retain_losses[name])


def __getattr__(name: str) -> StandaloneLoss:
    if name in forget_losses:
        return forget(name)
    if name in retain_losses:
        return retain(name)
    raise AttributeError(
        f"there is no loss {name!r}: {', '.join(dict.fromkeys([*forget_losses, *retain_losses]))}"
    )


def __dir__() -> list[str]:
    return sorted({*forget_losses, *retain_losses, "forget", "retain"})
