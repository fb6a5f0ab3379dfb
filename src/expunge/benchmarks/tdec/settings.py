"""The recipe's section `data` with `format: tdec`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ...data.settings import Data
from ...settings import Location

if TYPE_CHECKING:
    from ...data.sample_set import SampleSet


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

    def sources(self) -> dict[str, str | None]:
        return {"forget": self.path, "retain": self.retain}

    def read(self, side: str, source: str) -> tuple[SampleSet, str]:
        # They load torch, which a recipe alone does not need.
        from ...data.sample_set import SampleSet
        from .files import forget_set, retain_texts

        if side == "retain":
            return SampleSet(source, retain_texts(source, "data.retain")), self.format
        samples = forget_set(source, self.forget, self.sequences, "data.path")
        return SampleSet(f"{source}: forget set {self.forget}", samples), self.format
