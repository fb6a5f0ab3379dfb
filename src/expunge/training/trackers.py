"""The trackers that a training can report to: those of the Trainer, with packages of their own."""

from __future__ import annotations

from collections.abc import Sequence

from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ..errors import InputError, Problem, nearest

KEY = "training.report_to"


def check_trackers(names: Sequence[str]) -> None:
    """Raise `InputError` for trackers that the Trainer does not know, or whose package is not installed."""
    problems = []
    for name in names if list(names) not in (["all"], ["none"]) else ():
        if name not in INTEGRATION_TO_CALLBACK:
            problems.append(
                Problem(KEY, f"there is no tracker {name!r}.", nearest(name, INTEGRATION_TO_CALLBACK))
            )
            continue
        try:
            INTEGRATION_TO_CALLBACK[name]()  # as the Trainer makes it; it reports nothing yet
        except (RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            problems.append(
                Problem(KEY, f"{name!r} cannot be used: {reason}.", "Install what it needs, or leave it out.")
            )
    if problems:
        raise InputError(problems)
