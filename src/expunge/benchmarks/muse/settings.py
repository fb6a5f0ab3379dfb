"""The recipe's section `data` with `format: muse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ...data.settings import Data
from ...settings import Location

if TYPE_CHECKING:
    from ...data.sample_set import SampleSet


class MuseData(Data):
    """MUSE News or Books, in a folder or on the hub."""

    format: Literal["muse"]
    path: Location = Field(description="folder with MUSE's files, or a hub id such as muse-bench/MUSE-News")
    forget: str = Field(
        "raw/forget", description="split to forget: raw/forget, or scal/forget_1 … 4, sust/forget_1 … 4"
    )
    retain: str | None = Field("raw/retain1", description="split to keep; self: as for own data")

    one_data_set: ClassVar[bool] = True
    #: The splits are what they are published as, be there an article in two of them.
    disjoint: ClassVar[bool] = False

    def sources(self) -> dict[str, str | None]:
        return {"forget": self.forget, "retain": self.retain}

    def read(self, side: str, source: str) -> tuple[SampleSet, str]:
        # They load torch, which a recipe alone does not need.
        from ...data.sample_set import SampleSet
        from ...data.samples import Text
        from .files import TEXTS, read_split, split_label

        texts = [Text(row["text"]) for row in read_split(self.path, source, TEXTS)]
        return SampleSet(split_label(self.path, source), texts), self.format
