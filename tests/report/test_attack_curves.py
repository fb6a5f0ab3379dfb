"""The picture of the attacks that are made in steps."""

from __future__ import annotations

import re

from expunge.report.attack_curves import attack_curves
from synthetic_attacks import attacks, variant


def test_a_panel_for_every_attack_in_steps_says_when_half_is_back() -> None:
    """Of 0.97 the model has 0.1 left; half of what was lost is back at 0.535."""
    facts = attacks()
    courses = {
        "soon": {"after": {0: 0.1, 1: 0.5, 2: 0.6, 4: 0.55}, "reference": {0: 0.1, 1: 0.1, 2: 0.1, 4: 0.2}},
        "late": {"after": {0: 0.1, 1: 0.1, 2: 0.1, 3: 0.9}, "reference": {0: 0.1, 1: 0.54, 2: 0.1, 3: 0.1}},
        "alone": {"after": {0: 0.1, 1: 0.2}},
    }
    variants = {name: variant(0.2).model_copy(update={"curves": curves}) for name, curves in courses.items()}
    facts.outcomes["relearn"] = facts.outcomes["quantise"].model_copy(update={"variants": variants})
    svg = attack_curves(facts)
    assert svg is not None
    label = re.search(r'aria-label="([^"]*)"', svg)
    assert label is not None
    assert label[1] == (
        "What comes back over the steps of finetuning. soon: half back after 2 steps; reference: never; "
        "late: half back after 3 steps; reference: after 1 step; alone: half back never."
    )
    for name in courses:
        assert f"{name} (N = 100)" in svg
    assert "quantise" not in svg
    assert svg == attack_curves(facts)  # the same bytes


def test_there_is_no_picture_without_an_attack_in_steps() -> None:
    assert attack_curves(None) is None
    assert attack_curves(attacks()) is None
