"""The recipe's section `evaluation`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ..settings import Location, Section, one_of
from .registry import benchmarks


class Evaluation(Section):
    benchmark: str = Field(
        "auto", description="auto: the benchmark that the data come from, else memorization"
    )
    path: Location | None = Field(
        None, description="wmdp: folder with lm-eval task files (YAML) in place of lm-eval's own tasks"
    )
    reference: Location | None = Field(
        None, description="model that never saw the forget set, or its evaluation log"
    )
    before: Location | None = Field(
        None, description="evaluation log of the original model, to save measuring it again"
    )
    every: Literal["auto", "epoch"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="epoch, or a number of epochs; the last is always evaluated. auto: epoch, but where the number of "
        "epochs is left open as few as make five evaluations",
    )
    generate: Literal["every", "chosen", "never"] = Field(
        "every",
        description="every: answers are generated at each evaluation, so that the utility rule sees all of the "
        "benchmark's utility; chosen: only of the chosen epoch, and the rule sees what needs no generation; never",
    )
    max_new_tokens: int = Field(200, ge=1, description="longest greedy answer, for ROUGE; muse has its own")
    samples: int | None = Field(
        None, ge=1, description="evaluate at most this many of each set (tofu: but all of the forget set)"
    )
    first: int | None = Field(
        None, ge=1, description="tofu: evaluate the first this many questions of each set, the forget set included, "
        "as the papers' configurations do (300)"
    )  # fmt: skip

    @field_validator("benchmark")
    @classmethod
    def _known_benchmark(cls, value: str) -> str:
        if value == "auto" or (value in benchmarks and benchmarks[value].measures_forgetting):
            return value
        known, _ = benchmarks.loadable()
        measuring = [name for name, benchmark in known.items() if benchmark.measures_forgetting]
        if value in benchmarks:
            raise ValueError(
                f"{value!r} measures what a model can do, not what it has forgotten, so a run cannot choose its epoch "
                f"by it. Measure the run's result with `expunge eval`, and name {', '.join(measuring)} here"
            )
        return one_of(value, {*measuring, "auto"}, "benchmark")
