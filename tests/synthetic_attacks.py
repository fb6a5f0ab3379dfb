"""Attacks as `run.json` records them, with given shares."""

from __future__ import annotations

from expunge.attacks.recovery import Recovery
from expunge.folder.state import AttackFacts, AttackOutcome, AttackVariant


def recovered(share: float | None, half: float = 0.03, **more: object) -> Recovery:
    """A recovery whose interval is `half` around the share; without a share it is unresolved."""
    known = {} if share is None else {"share": share, "low": share - half, "high": share + half, "left": 0.02}
    values = {"n": 100, "original": 0.97, "after": 0.12, "attacked": 0.1 + 0.87 * (share or 0), "reference": 0.1,
              "attacked_reference": 0.1}  # fmt: skip
    unresolved = "nothing was lost that could come back" if share is None else None
    return Recovery(**{**values, **known, "unresolved": unresolved, **more})


def variant(share: float | None, two_sided: bool = False, **more: object) -> AttackVariant:
    return AttackVariant(
        lead="probability", recoveries={"probability": recovered(share, **more)}, two_sided=two_sided
    )


def attacks(missing: tuple[str, ...] = (), ground: str = "reference", **shares: float | None) -> AttackFacts:
    """The attacks `name=share`, each with a second variant that brings back nothing; `remove` brings back all.

    Without a ground to compare on there is no share.
    """
    outcomes = {
        name: AttackOutcome(
            title="the weights are rounded to 8 or 4 bits",
            counts=True,
            seconds=2.5,
            variants={"worst": variant(share, upper_bound=ground == "holdout"), "other": variant(0.0)}
            if share is not None
            else {"worst": variant(None)},
        )
        for name, share in (shares or {"quantise": 0.03}).items()
    }
    if ground == "none":
        outcomes = {
            name: outcome.model_copy(update={"variants": {"worst": variant(None)}})
            for name, outcome in outcomes.items()
        }
    outcomes["remove"] = AttackOutcome(
        title="the adapter is taken off",
        counts=False,
        seconds=1.0,
        variants={"off": variant(None if ground == "none" else 1.0)},
    )
    return AttackFacts(
        budget="cheap",
        ground=ground,
        reference="m",
        items=100,
        of=120,
        outcomes=outcomes,
        missing=list(missing),
    )
