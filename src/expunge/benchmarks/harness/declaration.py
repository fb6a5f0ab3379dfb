"""lm-eval's tasks, WMDP and the reasoning sets, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...settings import Location
from ..declaration import Declaration, Options, RunData

if TYPE_CHECKING:
    from ...data.encoding import Encoder
    from .benchmark import HarnessBenchmark
    from .reasoning import ReasoningBenchmark
    from .wmdp import WmdpBenchmark


class TaskOptions(Options):
    path: Location | None = Field(
        None, alias="data", description="folder with task files (YAML) in place of lm-eval's own"
    )


class HarnessOptions(TaskOptions):
    forget: str = Field("", description="tasks, groups or tags of lm-eval, separated by commas")


class Harness(Declaration[HarnessOptions]):
    name = "lm-eval"
    options = HarnessOptions

    def open(self, options: HarnessOptions, encoder: Encoder) -> HarnessBenchmark:
        """The tasks that `options.forget` names."""
        from .benchmark import HarnessBenchmark  # it loads torch

        names = [name.strip() for name in options.forget.split(",") if name.strip()]
        return HarnessBenchmark(names, options.path, options.samples, named_by="forget")


class Wmdp(Declaration[TaskOptions]):
    name = "wmdp"
    options = TaskOptions
    measures_forgetting = True

    def open(self, options: TaskOptions, encoder: Encoder) -> WmdpBenchmark:
        """lm-eval's tasks, or those of the same names in the folder `options.path`."""
        from .wmdp import WmdpBenchmark  # it loads torch

        return WmdpBenchmark(options.path, options.samples)

    def of_run(self, run: RunData, encoder: Encoder) -> WmdpBenchmark:
        """Its questions are not those of the run's data: they stand beside its corpora."""
        return self.open(TaskOptions(path=run.evaluation.path, samples=run.evaluation.samples), encoder)


class Reasoning(Declaration[TaskOptions]):
    name = "reasoning"
    options = TaskOptions

    def open(self, options: TaskOptions, encoder: Encoder) -> ReasoningBenchmark:
        """lm-eval's tasks, or those of the same names in the folder `options.path`."""
        from .reasoning import ReasoningBenchmark  # it loads torch

        return ReasoningBenchmark(options.path, options.samples)


HARNESS, WMDP, REASONING = Harness(), Wmdp(), Reasoning()
