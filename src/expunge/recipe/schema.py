"""The recipe: what a run is, as strict models. What is not named here is an error that names its nearest match."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .data import BENCHMARK_DATA, AnyData
from .methods import SETTINGS, AnyMethod, Unlearn, method_name
from .objective import ObjectiveSettings
from .section import Location, Section, one_of

ALL_LINEAR = "all-linear"
#: Initialisations that need no measurement; every importance estimator is one as well.
UNMEASURED = ("default", "pissa")


class Model(Section):
    """The model to unlearn from."""

    path: Location = Field(description="folder, or organisation/name on the hub")
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: the checkpoint's own on an accelerator, float32 on a CPU"
    )
    quantization: Literal["4bit", "8bit"] | None = Field(None, description="of the base, by bitsandbytes")
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    adapters: list[Location] = Field(
        [],
        description="adapters of earlier runs, added to the model in memory, in this order, when it is loaded",
    )

    @model_validator(mode="after")
    def _adapters_need_full_weights(self) -> Model:
        if self.adapters and self.quantization:
            raise ValueError(
                f"adapters cannot be added to weights that are quantised to {self.quantization}. Leave "
                "model.quantization out, or export the earlier result as a merged model"
            )
        return self


class Adapter(Section):
    """The LoRA adapter that is trained."""

    initialization: str = Field("vila", description="default, pissa, or an importance estimator")
    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0, description="the adapter is scaled by alpha / rank")
    targets: str | list[str] = Field(
        ALL_LINEAR, description="all-linear, q_v, qkvo, ffn, q_v_ffn, or module names"
    )
    layers: float = Field(1.0, gt=0, le=1, description="share of the transformer blocks, from the first")

    @field_validator("initialization")
    @classmethod
    def _known_initialization(cls, value: str) -> str:
        from ..importance import estimators

        return one_of(value, {*estimators, *UNMEASURED}, "initialisation")


class Importance(Section):
    """How importance is measured; the estimator is `adapter.initialization`."""

    samples: int | None = Field(None, ge=1, description="at most this many of each set; null: the whole forget set "
                                "and as many retain samples")  # fmt: skip
    batch_size: int = Field(8, ge=1)
    perturb: bool = Field(
        False, description="vila, lora_fisher: measure at W + s·BA, as the paper's text says"
    )
    official: bool = Field(
        False, description="fila, vila: what the public code does, its mistakes included, for comparison"
    )
    folder: Location = Field(
        "runs/importance",
        description="where `expunge importance` keeps what it measured; a run looks there first",
    )


class Training(Section):
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(32, ge=1, description="forget samples an optimiser step, over all processes")
    micro_batch_size: int = Field(8, ge=1, description="forget samples a forward pass on each process")
    learning_rate: float = Field(1e-4, gt=0)
    learning_rate_scale: Literal["none", "initialization"] = Field(
        "none",
        description="initialization: each layer's rate is scaled so that its first update is as large as with LoRA's "
        "default initialisation; one rate then suits every initialisation",
    )
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup: str | int = Field("1 epoch", description="'1 epoch', '10%', or a number of steps")
    max_grad_norm: float = Field(1.0, ge=0, description="0: gradients are not clipped")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 for a bf16 model on a GPU"
    )
    activation_checkpointing: bool = Field(
        False,
        description="keep only the blocks' inputs for the backward pass: less memory, a forward pass more",
    )
    report_to: list[str] = Field(
        default_factory=list, description="trackers of the Trainer, e.g. [tensorboard]"
    )

    @field_validator("warmup")
    @classmethod
    def _warmup_form(cls, value: str | int) -> str | int:
        if isinstance(value, int) and value < 0:
            raise ValueError("a number of steps cannot be negative")
        if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)? epochs?|\d+(\.\d+)?%|\d+", value):
            raise ValueError("write '1 epoch', '10%' or a number of steps")
        return value

    @model_validator(mode="after")
    def _batches_fit(self) -> Training:
        if self.batch_size % self.micro_batch_size and self.micro_batch_size < self.batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of micro_batch_size {self.micro_batch_size}"
            )
        return self

    def warmup_steps(self, steps_an_epoch: int) -> int:
        """The warm-up in optimiser steps."""
        text = str(self.warmup)
        if "epoch" in text:
            return round(float(text.split()[0]) * steps_an_epoch)
        if text.endswith("%"):
            return round(float(text[:-1]) / 100 * steps_an_epoch * self.epochs)
        return int(text)


class Stopping(Section):
    """When training ends before its last epoch."""

    rule: Literal["thresholds", "tdec"] | None = Field(
        None,
        description="null without thresholds: all epochs are trained; else training ends once all are reached",
    )
    thresholds: dict[str, float] | Location | None = Field(
        None,
        description="metric → the value at which it is reached: at or below; at or above where it rises as the forget "
        "set is forgotten (forget_quality, perplexity …); or a file that `eval --calibrate` wrote",
    )
    utility_floor: float = Field(0.5, ge=0, le=1, description="a utility under this share of the original's, or a "
                                 "loss that is no number, always ends the training")  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _thresholds_imply_their_rule(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("thresholds") and value.get("rule") is None:
            return {**value, "rule": "thresholds"}
        return value

    @model_validator(mode="after")
    def _rule_has_thresholds(self) -> Stopping:
        if self.rule and not self.thresholds:
            raise ValueError(
                f"the rule {self.rule!r} needs thresholds. Add stopping.thresholds: a metric with its value each, "
                "or the file that `expunge eval --calibrate` wrote"
            )
        return self


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
    every: Literal["epoch"] | Annotated[int, Field(ge=1)] = Field(
        "epoch", description="epoch, or a number of epochs; the last is always evaluated"
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

    @field_validator("benchmark")
    @classmethod
    def _known_benchmark(cls, value: str) -> str:
        from ..evaluation.benchmarks import BENCHMARKS, MEASURE_FORGETTING

        if value in BENCHMARKS and value not in MEASURE_FORGETTING:
            raise ValueError(
                f"{value!r} measures what a model can do, not what it has forgotten, so a run cannot choose its epoch "
                f"by it. Measure the run's result with `expunge eval`, and name {', '.join(MEASURE_FORGETTING)} here"
            )
        return one_of(value, {*MEASURE_FORGETTING, "auto"}, "benchmark")


class Recipe(Section):
    """A whole run."""

    name: str | None = Field(
        None, description="name of the run; from the recipe's file name where it is absent"
    )
    model: Model
    data: AnyData
    method: AnyMethod = Field(Unlearn(), description="unlearn, task_arithmetic, retrain or uld")
    adapter: Adapter = Adapter()
    importance: Importance = Importance()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: Training = Training()
    stopping: Stopping = Stopping()
    evaluation: Evaluation = Evaluation()
    export: list[Literal["adapter", "merged", "assistant"]] = Field(
        ["adapter"], description="what is handed over; retrain: merged, uld: assistant"
    )
    seed: int = Field(42, ge=0, lt=2**32)
    output: Location = Field("runs/{name}", description="run folder")

    @model_validator(mode="before")
    @classmethod
    def _implied_by_method(cls, value: Any) -> Any:
        """Keys that are left out get the values that the method implies."""
        name = method_name(value.get("method")) if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in SETTINGS:
            return value
        filled = dict(value)
        for key, implied in SETTINGS[name].implied.items():
            given = filled.setdefault(key, implied)
            if isinstance(implied, dict) and isinstance(given, dict):
                filled[key] = {**implied, **given}
        return filled

    @model_validator(mode="after")
    def _merged_needs_full_weights(self) -> Recipe:
        if "merged" in self.export and (self.model.quantization or self.model.dtype == "float16"):
            loaded = self.model.quantization or self.model.dtype
            raise ValueError(
                f"export: merged cannot be made of a base that is loaded in {loaded}, because its weights are not "
                "the checkpoint's. Export the adapter, and merge it into the base in its own dtype"
            )
        return self

    @property
    def given(self) -> dict[str, Any]:
        """Its content without what was left to defaults, which depend on the rest."""
        defaults = self.objective.hyperparameters.keys() - self.objective.model_fields_set
        return self.model_dump(mode="json", exclude_unset=True, exclude={"objective": defaults})

    @property
    def epochs_between_evaluations(self) -> int:
        return 1 if self.evaluation.every == "epoch" else self.evaluation.every

    @property
    def run_name(self) -> str:
        return self.name or "run"

    @property
    def output_folder(self) -> str:
        return self.output.replace("{name}", self.run_name)

    @property
    def benchmark(self) -> str:
        if self.evaluation.benchmark != "auto":
            return self.evaluation.benchmark
        return self.data.format if self.data.format in BENCHMARK_DATA else "memorization"
