"""What the files of a run folder hold, as types: `run.json`, lines of `metrics.jsonl` and `steps.jsonl`.

A key that has a default may be absent: a run writes it later, or not at all. Further keys, of a later version, are
left as they are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, model_validator

from ..attacks.recovery import Ground, Recovery
from ..attacks.settings import Budget
from ..evaluation.metric import Metric
from ..training.selection import Futile

Count = Annotated[StrictInt, Field(ge=0)]
#: Seconds or operations.
Amount = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]
Metrics = dict[str, Metric]


class Record(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Phase(Record):
    """A phase of a run; how long it took and what it needed once it is over."""

    state: Literal["running", "done"]
    attempts: Count = 0
    started: str | None = None
    seconds: Amount | None = None
    flops: Amount | None = None
    peak_memory_bytes: Count | None = None


class ModelFacts(Record):
    """The model that is to forget, as it was loaded. tokenizer: its hash; version 0.1.0 had none"""

    path: str
    revision: str | None = None
    fingerprint: str
    tokenizer: str | None = None
    parameters: Count
    dtype: str | None = None
    bytes: Count


class SetFacts(Record):
    """As `SampleSet.describe` gives it."""

    source: str
    hash: str
    n: Count


class SampledFacts(Record):
    """Samples that the original model wrote, of how many, and where they are kept."""

    samples: Count
    drawn: Count
    rejected: dict[str, Count]
    folder: str | None = None
    reused: StrictBool = False


class SurrogateFacts(SampledFacts):
    """The model's own samples that stand in for a retain set."""

    held_out: Count


class EncodedFacts(Record):
    """Hashes of token ids and labels: of what the model is given. None for a set that there is not."""

    forget: str
    retain: str | None
    substitutes: str | None


class DataFacts(Record):
    """encoded: version 0.1.0 had none"""

    format: str | None = None
    forget: SetFacts
    retain: SetFacts | None = None
    encoded: EncodedFacts | None = None
    surrogate: SurrogateFacts | None = None
    neighbours: SampledFacts | None = None


class BenchmarkFacts(Record):
    """What measures the run: in which version, and the hash of its own data, the perturbed answers and tasks."""

    name: str
    metric_version: str
    hash: str | None


class UnreachedKind(Record):
    """Weights of one kind that no adapter reaches, of all blocks together. share: of all the model's parameters"""

    kind: str
    reason: str
    parameters: Count
    share: StrictFloat


class UnreachedFacts(Record):
    """What the adapter's targets promise and no adapter reaches."""

    kinds: list[UnreachedKind]
    parameters: Count
    share: StrictFloat

    @property
    def line(self) -> str:
        """`A, B (why, 3%), C (why, 1%): no adapter reaches 4% of all parameters, which stay as they are`; empty where
        there is nothing to say."""
        reasons: dict[str, list[UnreachedKind]] = {}
        for one in self.kinds:
            reasons.setdefault(one.reason, []).append(one)
        parts = [
            f"{', '.join(one.kind for one in kinds)} ({reason}, {_percent(sum(one.share for one in kinds))})"
            for reason, kinds in reasons.items()
        ]
        if not parts:
            return ""
        share = _percent(self.share)
        return f"{', '.join(parts)}: no adapter reaches {share} of all parameters, which stay as they are"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


class AdapterFacts(Record):
    """What is trained; without an adapter only how many parameters. unreached: absent where there is nothing"""

    initialization: str | None = None
    rank: Count | None = None
    alpha: StrictInt | StrictFloat | None = None
    modules: Count | None = None
    trainable_parameters: Count | None = None
    bytes: Count | None = None
    unreached: UnreachedFacts | None = None


class TakenImportance(Record):
    """Of an importance that was not measured anew. reused: the store's file"""

    reused: str


class Trial(Record):
    """A training at one learning rate, as far as it went.

    state:        kept: at its end the model has the utility that the rule asks for; lost: it has not
    left:         before its last epoch, since nothing was to be expected of it; stopped says why
    best_epoch, forget_score, utility, qualified: of the epoch that would be chosen; no epoch where the first one
                  diverged. The forget score is that of the questions by which trials are compared
    best_score:   the highest forget score of an epoch that keeps the utility: what the search goes by
    beyond:       whether that epoch has forgotten more than what was never seen, or the trial went on past that from
                  it; false where the last one, and so the trial, has not; None where nothing says so
    near_enough:  whether those questions cannot tell that epoch from what it aims at
    reached:      whether the chosen epoch is at the recipe's thresholds, with the utility kept
    """

    learning_rate: Annotated[StrictFloat, Field(gt=0)]
    state: Literal["kept", "lost"]
    left: StrictBool
    stopped: str | None
    epochs: Count
    best_epoch: Count | None = None
    forget_score: StrictFloat | None = None
    utility: StrictFloat | None = None
    qualified: StrictBool = False
    best_score: StrictFloat | None = None
    beyond: StrictBool | None = None
    near_enough: StrictBool = False
    reached: StrictBool = False


class TuningFacts(Record):
    """How the learning rate was found.

    questions: forget questions by which the trials are compared
    chosen:    the number of the trial that is handed over, counted from 1; None while they go on
    """

    questions: Count
    trials: list[Trial]
    chosen: Annotated[StrictInt, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _chosen_is_there(self) -> TuningFacts:
        if self.chosen is not None and self.chosen > len(self.trials):
            raise ValueError(f"chooses trial {self.chosen}, but holds {len(self.trials)}")
        return self


class TrainingFacts(Record):
    """What came of training: the epoch whose model is handed over, and why no later one was trained.

    settings: of the training, every `auto` as the number that it became; None where the recipe says all of them
    best_epoch: None where no epoch forgets anything
    choose:     the rule by which it was chosen (`stopping.choose`)
    futile:     then why, of the last epoch
    aims:       what the forget loss aims at, and so what the epoch was chosen by
    utility_metric, original_utility: what the utility rule looked at and took its share of; version 0.1.0 said neither
    """

    steps: Count
    epochs: Count
    best_epoch: Count | None
    futile: Futile | None = None
    aims: Literal["probabilities", "answers"] = "probabilities"
    choose: Literal["useful", "best", "last"] = "best"
    qualified: StrictBool
    utility_floor: Annotated[StrictFloat, Field(gt=0, le=1)]
    stopped: str | None
    utility_metric: str | None = None
    original_utility: StrictFloat | None = None
    settings: dict[str, Any] | None = None


class StartFacts(Record):
    """The model that training starts from, where it is not the one that is to forget (`method.base`)."""

    path: str
    fingerprint: str


class Resumption(Record):
    """That a run was gone on with under other versions: `torch 2.8.0, now 2.9.1`."""

    at: str
    changed_versions: list[str]


class Stages(Record):
    """Metrics by name; None for what was not evaluated."""

    before: Metrics | None = None
    after: Metrics | None = None
    reference: Metrics | None = None


class Origin(Record):
    """By which command a run was made, when, and with what; of no use to a run that is gone on with."""

    name: str | None = None
    versions: dict[str, str] = {}
    seed: StrictInt | None = None
    command: list[str] = []
    started: str | None = None
    finished: str | None = None


#: How a run ends that hands over no model: before anything is trained, or after.
Ended = Literal["nothing to forget", "nothing was forgotten"]


class Judgement(Record):
    """The verdict on a run, as `expunge.report.verdict` gives it. forgetting: of several requests that of each"""

    forgetting: str | list[str]
    utility_kept: StrictBool | None
    headline: str
    against: list[str]
    next: list[str]


class PrecisionFacts(Record):
    """What passes are made in where the recipe left that to the machine. bf16_speedup: of a product, measured"""

    chosen: Literal["fp32", "bf16"]
    bf16_speedup: Amount


class AttackVariant(Record):
    """One way in which an attack asked.

    lead:      the measure that counts; recoveries has every one
    curves:    where the attack is made in steps: after, reference → step → mean of `lead`
    facts:     further figures of the attack on the model that was handed over
    two_sided: whether less than the reference shows as much as more
    """

    lead: str
    recoveries: dict[str, Recovery]
    curves: dict[str, dict[int, float]] = {}
    facts: dict[str, float] = {}
    two_sided: StrictBool = False


class AttackOutcome(Record):
    """What came of an attack. title: what it does; counts: whether it stands against the verdict; unfit: why it was not
    made, None where it was"""

    title: str
    counts: StrictBool
    unfit: str | None = None
    seconds: Amount = 0.0
    variants: dict[str, AttackVariant] = {}


class AttackFacts(Record):
    """The attacks on the model that was handed over.

    ground:    what the comparison rests on; reference: where that model lies
    items, of: how many questions, or pieces of text, were asked, and of how many
    outcomes:  by the name of the attack
    missing:   the cheap attacks that were not run
    beyond:    those that only a larger budget has, and that were not run; earlier versions did not say
    """

    budget: Budget
    ground: Ground
    reference: str | None = None
    items: Count
    of: Count
    outcomes: dict[str, AttackOutcome]
    missing: list[str] = []
    beyond: list[str] = []


class RunState(Origin):
    """`run.json`. benchmark, thresholds, given_logs: as they were at the start; version 0.1.0 had none

    ended: how, where the run is over without a model to hand over
    network: what the hub was asked for, by name; nothing where all was local, or in the cache with HF_HUB_OFFLINE
    attacks: None where none were made; earlier versions made none
    """

    state: Literal["running", "done", "failed"]
    phases: dict[str, Phase]
    machine: dict[str, Any] = {}
    method: str | None = None
    deliverable: Literal["adapter", "merged", "assistant"] = "adapter"
    network: list[str] = []
    model: ModelFacts
    data: DataFacts
    adapter: AdapterFacts
    benchmark: BenchmarkFacts | None = None
    thresholds: dict[str, StrictFloat] | None = None
    given_logs: dict[str, str | None] | None = None
    start: StartFacts | None = None
    resumed: list[Resumption] = []
    metrics: Stages
    importance: TakenImportance | None = None
    precision: PrecisionFacts | None = None
    tuning: TuningFacts | None = None
    training: TrainingFacts | None = None
    ended: Ended | None = None
    attacks: AttackFacts | None = None
    verdict: Judgement | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _an_epoch_was_chosen(self) -> RunState:
        if self.training and self.training.best_epoch is None and not self.ended:
            raise ValueError(
                "names no epoch in training.best_epoch, and does not say how the run ended without"
            )
        return self


class EpochRow(Record):
    """A line of `metrics.jsonl`: an epoch that was evaluated. step: the optimiser's, at its end; futile: why it forgets
    nothing, None where it does"""

    epoch: Count
    step: Count
    forget_loss: StrictFloat | None = None
    retain_loss: StrictFloat | None = None
    learning_rate: StrictFloat | None = None
    seconds: Amount | None = None
    forget_score: StrictFloat
    utility: StrictFloat | None
    qualifies: StrictBool
    reached: StrictBool
    futile: Futile | None = None
    stopped: str | None
    metrics: Metrics


class StepRow(Record):
    """A line of `steps.jsonl`: an optimiser step."""

    step: Count
    epoch: StrictFloat | None = None
    forget_loss: StrictFloat | None = None
    retain_loss: StrictFloat | None = None
    learning_rate: StrictFloat | None = None
    grad_norm: StrictFloat | None = None
    retain_weight: StrictFloat | None = None


class AdapterConfig(Record):
    """What a report takes from `adapter_config.json`, which is PEFT's. r: rank"""

    r: Annotated[StrictInt, Field(ge=1)] | None = None


class InputTokenizer(Record):
    tokenizer: str


class InputFacts(Record):
    """What the result of one request depends on, as its own `run.json` says it."""

    model: InputTokenizer
    data: DataFacts
    benchmark: BenchmarkFacts
    thresholds: dict[str, StrictFloat]
