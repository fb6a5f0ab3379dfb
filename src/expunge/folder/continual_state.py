"""What `continual.json` holds, the state of requests that are answered one after the other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, model_validator

from .state import (
    Count,
    Ended,
    InputFacts,
    Judgement,
    Metrics,
    ModelFacts,
    Origin,
    Record,
    SetFacts,
    Stages,
    TrainingFacts,
)


class RequestsData(Record):
    format: str | None = None
    forget: Annotated[list[SetFacts], Field(min_length=1)]
    retain: SetFacts | None = None


class Utility(Record):
    """Of the model before all requests, and after each; None where nothing measures it."""

    original: StrictFloat | None
    after: list[StrictFloat | None]


class RequestFacts(Record):
    """What came of a request. forget_sets: metrics of each forget set so far, by the number of its request

    ended:   how it ended where it left the model as it was; then there is no adapter, and `metrics.after` are those
             of before
    """

    folder: str
    adapter: str | None
    ended: Ended | None = None
    model: ModelFacts
    training: TrainingFacts | None
    metrics: Stages
    forget_sets: dict[str, Metrics]

    @model_validator(mode="after")
    def _left_an_adapter(self) -> RequestFacts:
        if not self.ended and (self.adapter is None or self.training is None):
            raise ValueError(
                "names no adapter or no training, and does not say how the request ended without"
            )
        return self


class CombinedAdapter(Record):
    rank: Count
    bytes: Count


class ContinualState(Origin):
    """`continual.json`. inputs: of every request; version 0.1.0 had none; network: as of a run, by all requests"""

    state: Literal["running", "done", "failed"]
    finished: str | None
    network: list[str] = Field(default_factory=list)
    data: RequestsData
    inputs: list[InputFacts] = Field(default_factory=list)
    utility: Utility
    requests: list[RequestFacts]
    adapter: CombinedAdapter | None
    verdict: Judgement | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> ContinualState:
        """Each request that is over has been measured as the report compares them."""
        over = len(self.requests)
        if over > len(self.data.forget):
            raise ValueError(f"holds {over} requests, but data.forget names {len(self.data.forget)}")
        if len(self.utility.after) < over:
            raise ValueError(f"holds {over} requests, but utility.after is of {len(self.utility.after)}")
        for number, request in enumerate(self.requests, start=1):
            if request.metrics.before is None or request.metrics.after is None:
                raise ValueError(f"lacks the metrics of request {number}")
            for earlier in range(1, number + 1):
                if str(earlier) not in request.forget_sets:
                    raise ValueError(f"lacks forget set {earlier} after request {number}")
        return self
