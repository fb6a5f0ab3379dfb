"""The course of an attack that is made in steps: how soon half of what was lost is back."""

from __future__ import annotations

from collections.abc import Mapping


def steps_to_half(course: Mapping[int, float], original: float) -> int | None:
    """The first measured step at which half of what was lost is back: m ≥ (m at step 0 + m of the original) / 2.

    course:   step → the mean of a measure that rises with knowledge; it holds step 0, which is before the attack
    original: the mean of the original model, on the same items

    None where no measured step comes that far.
    """
    half = (course[0] + original) / 2
    return next((step for step, value in sorted(course.items()) if value >= half), None)
