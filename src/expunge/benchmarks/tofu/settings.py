"""The recipe's section `data` with `format: tofu`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ...data.columns import Columns
from ...data.settings import Data
from ...errors import InputError, Problem
from ...hub import is_hub_id
from ...settings import Location

if TYPE_CHECKING:
    from ...data.sample_set import SampleSet


class TofuData(Data):
    """The TOFU benchmark's files, in a folder or on the hub."""

    format: Literal["tofu"]
    path: Location = Field(description="folder with the TOFU files, or a hub id such as locuslab/TOFU")
    forget: str = Field(
        "forget10", description="name of the split to forget; of a list each in turn, a request after another"
    )
    retain: str | None = Field(None, description="name of the split to keep; from forget10 follows retain90; "
                                    "self: as for own data")  # fmt: skip

    one_data_set: ClassVar[bool] = True
    retain_follows: ClassVar[bool] = True

    @property
    def retain_split(self) -> str | None:
        if self.retain is not None:
            return None if self.retains_itself else self.retain
        match = re.fullmatch(r"forget(\d+)", self.forget)
        return f"retain{100 - int(match.group(1)):02d}" if match else None

    def sources(self) -> dict[str, str | None]:
        splits = {"forget": self.forget, "retain": self.retain_split}
        folder = Path(self.path)
        if folder.is_dir():
            return {side: str(folder / f"{split}.json") if split else None for side, split in splits.items()}
        if not is_hub_id(self.path):
            raise InputError(
                Problem("data.path", f"there is no folder {self.path!r}.",
                        "Name a folder with TOFU's files, or a hub data set such as locuslab/TOFU.")
            )  # fmt: skip
        return {side: f"{self.path}:{split}:train" if split else None for side, split in splits.items()}

    def read(self, side: str, source: str) -> tuple[SampleSet, str]:
        from ...data.own_files import read_own_set  # it loads torch, which a recipe alone does not need

        return read_own_set(source, Columns(format="qa"), f"data.{side}")[0], self.format
