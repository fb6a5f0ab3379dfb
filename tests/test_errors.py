"""Where a problem is, in the words of the one who asked."""

from __future__ import annotations

import pytest

from expunge.errors import InputError, Problem, placed_by


def test_places_get_the_names_that_the_caller_has_for_them() -> None:
    problems = [
        Problem("path", "a.", "A."),
        Problem("path: data.npy", "b.", "B."),
        Problem("path.npy, row 3", "c.", "C."),
    ]
    with (
        pytest.raises(InputError) as caught,
        placed_by(lambda place: "--data" if place == "path" else place),
    ):
        raise InputError(problems)
    assert [str(problem) for problem in caught.value.problems] == [
        "--data: a. A.",
        "--data: data.npy: b. B.",
        "path.npy, row 3: c. C.",
    ]
