"""The recipe: what a run is, as strict models. What is not named here is an error that names its nearest match."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ..adapters.settings import Adapter
from ..benchmarks.muse.settings import MuseData
from ..benchmarks.settings import Evaluation
from ..benchmarks.tdec.settings import TdecData
from ..benchmarks.tofu.settings import TofuData
from ..data.settings import Data, OwnData
from ..importance.settings import Importance
from ..models.settings import Model
from ..objectives.settings import ObjectiveSettings
from ..settings import Location, Section
from ..training.settings import Stopping, Training
from .methods import SETTINGS, AnyMethod, Unlearn, method_name

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
    objective: ObjectiveSettings = Field(
        default_factory=ObjectiveSettings
    )  # made later: its losses load torch
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
