"""The recipe's section `data`: the samples that must go and those that must stay; here the user's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ..errors import InputError, Problem
from ..settings import Location, Section
from .columns import Columns, SetColumns

if TYPE_CHECKING:
    from .sample_set import SampleSet

#: `data.retain: self`: the model writes its own retain set.
SELF = "self"


class CustomTemplate(Section):
    """The form of a question and its answer: `{question}` and `{answer}` mark their places."""

    prompt: str
    answer: str = "{answer}"

    @model_validator(mode="after")
    def _placeholders(self) -> CustomTemplate:
        for text, place in ((self.prompt, "{question}"), (self.answer, "{answer}")):
            if place not in text:
                raise ValueError(f"the text {text!r} does not contain {place}")
        return self


class Data(Section):
    if TYPE_CHECKING:  # keys of every section, in their own places among the others
        format: Any
        forget: Any
        retain: Any

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

    #: Whether the sets are splits of one data set: where it cannot be had, none of them can.
    one_data_set: ClassVar[bool] = False
    #: Whether a sample that is in two sets is a mistake.
    disjoint: ClassVar[bool] = True
    #: Whether the retain set follows from the name of the forget set where it is left out.
    retain_follows: ClassVar[bool] = False

    @property
    def columns(self) -> Columns:
        """The names of columns for files beside the sets, such as substitutes."""
        return Columns()

    def sources(self) -> dict[str, str | None]:
        """Side (forget, retain, and holdout where the format has one) → where it is read from, None for no such set.

        Raises `InputError` where the recipe does not tell.
        """
        raise NotImplementedError

    def read(self, side: str, source: str) -> tuple[SampleSet, str]:
        """The set of one side, from its source, and its format as `run.json` calls it.

        Raises `InputError` for a source that cannot be read.
        """
        raise NotImplementedError

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


class OwnData(Columns, Data):
    """The user's own files: jsonl, json, csv, tsv, parquet, txt, md, a folder of them, or `hub/id:split`."""

    forget: Location = Field(description="what must go; of a list each in turn, a request after another")
    retain: Location | None = Field(
        None,
        description="what must stay; without it only forgetting is measured; self: samples of the model itself, taken "
        "before it changes and screened against the forget set (a file of that name: ./self)",
    )
    holdout: Location | None = Field(
        None, description="like the forget set, but the model never saw it: for membership inference"
    )
    neighbours: int = Field(
        0,
        ge=0,
        description="questions that begin like those to forget and are about something else, finished and answered by "
        "the original model and kept beside the retain set: at most so many",
    )

    columns_of: dict[Literal["forget", "retain", "holdout"], SetColumns] = Field(
        {}, description="columns that one set calls otherwise: {retain: {question: prompt}}"
    )

    @property
    def columns(self) -> Columns:
        return self

    def sources(self) -> dict[str, str | None]:
        return {"forget": self.forget, "retain": self.retain, "holdout": self.holdout}

    def read(self, side: str, source: str) -> tuple[SampleSet, str]:
        from .own_files import read_own_set  # it loads torch, which a recipe alone does not need

        columns = self.columns_for(side)
        read, format = read_own_set(source, columns, f"data.{side}")
        named = columns.keywords_column != Columns().keywords_column
        if side == "forget" and named and not any(getattr(sample, "keywords", ()) for sample in read.samples):
            raise InputError(
                Problem("data.keywords_column", f"no question and no conversation of {source!r} has keywords in a "
                        f"column {columns.keywords_column!r}.", "Correct the name, or leave it out.")
            )  # fmt: skip
        return read, format

    def columns_for(self, side: str) -> Columns:
        """The names of the columns of one side's set."""
        return self.renamed(self.columns_of[side]) if side in self.columns_of else self
