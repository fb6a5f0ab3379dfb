"""The recipe's `data` section: which samples must go and which must stay, in each format."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from .section import Location, Section

#: `data.retain: self`: the model writes its own retain set.
SELF = "self"


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
    self_samples: int | None = Field(
        None, ge=2, description="retain: self: samples; null: 4 for each forget example, at least 200"
    )
    self_folder: Location = Field(
        "runs/surrogate", description="retain: self: where samples are kept; a run looks there first"
    )

    @property
    def retains_itself(self) -> bool:
        """Whether the retain set is to be sampled from the original model."""
        return getattr(self, "retain", None) == SELF

    @model_validator(mode="after")
    def _samples_of_itself(self) -> Data:
        if self.self_samples is not None and not self.retains_itself:
            raise ValueError("self_samples is for a retain set that the model writes. Set retain to self, or leave "
                             "self_samples out")  # fmt: skip
        return self


class TofuData(Data):
    """The TOFU benchmark's files, in a folder or on the hub."""

    format: Literal["tofu"]
    path: Location = Field(description="folder with the TOFU files, or a hub id such as locuslab/TOFU")
    forget: str = Field(
        "forget10", description="name of the split to forget; of a list each in turn, a request after another"
    )
    retain: str | None = Field(None, description="name of the split to keep; from forget10 follows retain90; "
                                    "self: as for own data")  # fmt: skip

    @property
    def retain_split(self) -> str | None:
        if self.retain is not None:
            return None if self.retains_itself else self.retain
        match = re.fullmatch(r"forget(\d+)", self.forget)
        return f"retain{100 - int(match.group(1)):02d}" if match else None


class TdecData(Data):
    """The Training Data Extraction Challenge: token sequences to forget, as they are, and text to keep."""

    format: Literal["tdec"]
    path: Location = Field(description="folder with the challenge's npy files, an npy file of token ids, or a file "
                           "with a column `text`")  # fmt: skip
    forget: int = Field(
        0, ge=0, description="number of the forget set: 0 is the first `sequences` rows, 1 the next"
    )
    sequences: int = Field(32, ge=1, description="sequences in a forget set")
    retain: Location | None = Field(
        None, description="text to keep, such as WikiText: a file or hub/id:split; self: as for own data"
    )


class MuseData(Data):
    """MUSE News or Books, in a folder or on the hub."""

    format: Literal["muse"]
    path: Location = Field(description="folder with MUSE's files, or a hub id such as muse-bench/MUSE-News")
    forget: str = Field(
        "raw/forget", description="split to forget: raw/forget, or scal/forget_1 … 4, sust/forget_1 … 4"
    )
    retain: str | None = Field("raw/retain1", description="split to keep; self: as for own data")


class OwnData(Data):
    """The user's own files: jsonl, json, csv, parquet, txt, a folder of txt files, or `hub/id:split`."""

    format: Literal["auto", "qa", "chat", "text"] = Field(
        "auto", description="auto: recognised by the columns"
    )
    forget: Location = Field(description="what must go; of a list each in turn, a request after another")
    retain: Location | None = Field(
        None,
        description="what must stay; without it only forgetting is measured; self: samples of the model itself, taken "
        "before it changes and screened against the forget set (a file of that name: ./self)",
    )
    holdout: Location | None = Field(
        None, description="like the forget set, but the model never saw it: for membership inference"
    )
    question_column: str = "question"
    answer_column: str = "answer"
    messages_column: str = "messages"
    text_column: str = "text"


#: Data formats that have keys of their own; the benchmark of the same name measures them.
BENCHMARK_DATA: dict[str, type[Data]] = {"tofu": TofuData, "tdec": TdecData, "muse": MuseData}


def _data_kind(value: Any) -> str:
    given = value.get("format") if isinstance(value, dict) else getattr(value, "format", None)
    return given if isinstance(given, str) and given in BENCHMARK_DATA else "own"


AnyData = Annotated[
    Annotated[TofuData, Tag("tofu")]
    | Annotated[TdecData, Tag("tdec")]
    | Annotated[MuseData, Tag("muse")]
    | Annotated[OwnData, Tag("own")],
    Discriminator(_data_kind),
]
