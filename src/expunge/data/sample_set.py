"""The samples of one set, and where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError, Problem
from ..storage import hash_rows
from .encoding import Encoder, Example
from .rows import LISTED
from .samples import Sample


@dataclass(frozen=True)
class SampleSet:
    """The samples of one side, and where they came from."""

    source: str
    samples: Sequence[Sample]

    def describe(self) -> dict[str, Any]:
        """The record for `run.json`: the source, a hash of the content, the number of samples."""
        rows = [repr(sample) for sample in self.samples]
        return {"source": self.source, "hash": hash_rows(rows), "n": len(rows)}

    def encode(self, encoder: Encoder) -> list[Example]:
        """Every sample as examples.

        Raises `InputError` where an answer lies beyond `data.max_length`, and where the template cannot write one.
        """
        examples = []
        problems = []
        for number, sample in enumerate(self.samples, start=1):
            try:
                encoded = sample.encode(encoder)
            except InputError as error:
                problems += [
                    replace(problem, where=f"{self.source}, row {number}") for problem in error.problems
                ]
                continue
            for example in encoded:
                if example.label_count:
                    examples.append(example)
                else:
                    problems.append(
                        Problem(f"{self.source}, row {number}",
                                f"its answer does not begin within {encoder.max_length} tokens.",
                                "Raise data.max_length (`expunge eval`: --max-length), or shorten the question.")
                    )  # fmt: skip
        if len(problems) == len(self.samples) > 1 and len({problem.reason for problem in problems}) == 1:
            problems = [replace(problems[0], where=f"{self.source}, every row")]
        if problems:
            raise InputError(problems[:LISTED])
        return examples
