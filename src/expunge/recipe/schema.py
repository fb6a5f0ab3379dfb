"""The recipe: what a run is, as strict models. What is not named here is an error that names its nearest match."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

ALL_LINEAR = "all-linear"
#: Initialisations that need no measurement; every importance estimator is one as well.
UNMEASURED = ("default", "pissa")


class Section(BaseModel):
    """A part of a recipe. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _home(value: Any) -> Any:
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~") else value


#: A file, a folder or a hub id; `~` is the user's home.
Location = Annotated[str, BeforeValidator(_home)]


class Model(Section):
    """The model to unlearn from."""

    path: Location = Field(description="folder, or organisation/name on the hub")
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: the checkpoint's own on an accelerator, float32 on a CPU"
    )
    quantization: Literal["4bit", "8bit"] | None = Field(None, description="of the base, by bitsandbytes")
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")


class CustomTemplate(Section):
    """How a question and its answer are written: `{question}` and `{answer}` mark their places."""

    prompt: str
    answer: str = "{answer}"

    @model_validator(mode="after")
    def _placeholders(self) -> CustomTemplate:
        for text, place in ((self.prompt, "{question}"), (self.answer, "{answer}")):
            if place not in text:
                raise ValueError(f"the text {text!r} does not contain {place}")
        return self


class Data(Section):
    template: Literal["auto", "question-answer", "tofu-phi", "tofu-llama2", "chat"] | CustomTemplate = Field(
        "auto", description="auto: the tokenizer's chat template where it has one"
    )
    max_length: int = Field(512, ge=8, description="longest sequence, in tokens")


class TofuData(Data):
    """The TOFU benchmark's files, in a folder or on the hub."""

    format: Literal["tofu"]
    path: Location = Field(description="folder with the TOFU files, or a hub id such as locuslab/TOFU")
    forget: str = Field("forget10", description="name of the split to forget")
    retain: str | None = Field(None, description="name of the split to keep; from forget10 follows retain90")

    @property
    def retain_split(self) -> str | None:
        if self.retain is not None:
            return self.retain
        match = re.fullmatch(r"forget(\d+)", self.forget)
        return f"retain{100 - int(match.group(1)):02d}" if match else None


class OwnData(Data):
    """The user's own files: jsonl, json, csv, parquet, txt, a folder of txt files, or `hub/id:split`."""

    format: Literal["auto", "qa", "chat", "text"] = Field(
        "auto", description="auto: recognised by the columns"
    )
    forget: Location = Field(description="what must go")
    retain: Location | None = Field(
        None, description="what must stay; without it only forgetting is measured"
    )
    question_column: str = "question"
    answer_column: str = "answer"
    messages_column: str = "messages"
    text_column: str = "text"


def _data_kind(value: Any) -> str:
    given = value.get("format") if isinstance(value, dict) else getattr(value, "format", None)
    return "tofu" if given == "tofu" else "own"


AnyData = Annotated[
    Annotated[TofuData, Tag("tofu")] | Annotated[OwnData, Tag("own")],
    Discriminator(_data_kind),
]


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

        return _known(value, {*estimators, *UNMEASURED}, "initialisation")


class Importance(Section):
    """How importance is measured; the estimator is `adapter.initialization`."""

    samples: int | None = Field(None, ge=1, description="at most this many of each set; null: the whole forget set "
                                "and as many retain samples")  # fmt: skip
    batch_size: int = Field(8, ge=1)


class ObjectiveSettings(Section):
    """forget loss + retain_weight · retain loss. `objective: gd` names one of the papers' combinations."""

    forget: str = "ihl"
    retain: str = "nll"
    retain_weight: float = Field(1.0, ge=0, description="λ")
    beta: float = Field(0.1, gt=0, description="β of npo")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        from ..objectives import PRESETS

        given = {"forget": value} if isinstance(value, str) else value
        if isinstance(given, dict) and given.get("forget") in PRESETS:
            forget, retain = PRESETS[given["forget"]]
            return {"retain": retain, **given, "forget": forget}
        return given

    @field_validator("forget")
    @classmethod
    def _known_forget(cls, value: str) -> str:
        from ..objectives import PRESETS, forget_losses

        return _known(value, {*forget_losses, *PRESETS}, "forget loss")

    @field_validator("retain")
    @classmethod
    def _known_retain(cls, value: str) -> str:
        from ..objectives import retain_losses

        return _known(value, {*retain_losses, "none"}, "retain loss")


class Training(Section):
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(32, ge=1, description="forget samples an optimiser step, over all processes")
    micro_batch_size: int = Field(8, ge=1, description="forget samples a forward pass on each process")
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup: str | int = Field("1 epoch", description="'1 epoch', '10%', or a number of steps")
    max_grad_norm: float = Field(1.0, ge=0, description="0: gradients are not clipped")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 for a bf16 model on a GPU"
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

    rule: None = Field(None, description="null: all epochs are trained")
    utility_floor: float = Field(0.5, ge=0, le=1, description="a utility under this share of the original's, or a "
                                 "loss that is no number, always ends the training")  # fmt: skip


class Evaluation(Section):
    benchmark: Literal["auto", "tofu", "memorization"] = Field(
        "auto", description="auto: tofu for TOFU data, else memorization"
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
    generate: Literal["every", "chosen"] = Field(
        "every",
        description="every: answers are generated at each evaluation, so that the utility rule sees all of the "
        "benchmark's utility; chosen: only of the chosen epoch, and the rule sees what needs no generation",
    )
    max_new_tokens: int = Field(200, ge=1, description="longest greedy answer, for ROUGE")
    samples: int | None = Field(None, ge=1, description="own data: evaluate at most this many of each set")


class Recipe(Section):
    """A whole run."""

    name: str | None = Field(
        None, description="name of the run; from the recipe's file name where it is absent"
    )
    model: Model
    data: AnyData
    adapter: Adapter = Adapter()
    importance: Importance = Importance()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: Training = Training()
    stopping: Stopping = Stopping()
    evaluation: Evaluation = Evaluation()
    export: list[Literal["adapter", "merged"]] = ["adapter"]
    seed: int = Field(42, ge=0, lt=2**32)
    output: Location = Field("runs/{name}", description="run folder")

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
        return "tofu" if isinstance(self.data, TofuData) else "memorization"


def _known(value: str, names: set[str], kind: str) -> str:
    from ..errors import nearest

    if value not in names:
        raise ValueError(f"there is no {kind} {value!r}. {nearest(value, names)}")
    return value
