"""What a run has come to, read from its folder. Only `model()` loads torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..folder.requests import ContinualFolder
from ..folder.run import RunFolder, read_run_folder
from ..folder.state import EpochRow

if TYPE_CHECKING:
    from ..report.continual import Overall
    from ..report.verdict import Verdict


@dataclass(frozen=True)
class Run:
    """A finished run. `path` is its folder; the README's "A run folder" says what lies there."""

    path: Path

    @property
    def state(self) -> dict[str, Any]:
        """The content of `run.json`."""
        return RunFolder(self.path).document

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{before, after, reference} → metric name → value, n, low, high (a 95 % interval where there is one)."""
        return self.state["metrics"]

    @property
    def score(self) -> float:
        """How well the forget set is forgotten after the chosen epoch; higher is better.

        The benchmark says what it is: of TOFU log₁₀ of the Forget Quality, of own data 1 − the mean probability of the
        answers; of a loss that aims at answers 1 − their ROUGE where they are generated. NaN where no model was handed
        over.
        """
        chosen = self._chosen_epoch
        return math.nan if chosen is None else chosen.forget_score

    @property
    def utility(self) -> float | None:
        """The utility after the chosen epoch, as the utility rule saw it; None where nothing says what is left.

        None as well where no model was handed over.
        """
        chosen = self._chosen_epoch
        return None if chosen is None else chosen.utility

    @property
    def original_utility(self) -> float | None:
        """What the utility rule took its share of: the original model's utility; None where it was not measured."""
        training = self.state.get("training")
        if training is None:
            return None
        if "original_utility" in training:
            return training["original_utility"]
        # Earlier runs did not record it.
        from ..report.evidence import rule_utility  # imports scipy, which takes time

        before = self.metrics["before"]
        chosen = self._chosen_epoch
        name = rule_utility(None, before, chosen.metrics) if chosen else None
        return None if name is None else before[name]["value"]

    @property
    def verdict(self) -> Verdict | Overall:
        """What the report says of the run: a headline and its findings in words, flags, and what to try next."""
        from ..report.page import gather_evidence, judge  # imports matplotlib, which takes time

        return judge(gather_evidence(read_run_folder(self.path)))

    @property
    def forgot_nothing(self) -> bool:
        """Whether training forgot nothing, so that what was asked for failed; not where there was nothing to forget."""
        return bool(self.state.get("ended") == "nothing was forgotten")

    @property
    def report(self) -> Path:
        """`report.html`."""
        return RunFolder(self.path).report_file

    @property
    def card(self) -> Path:
        """`README.md`, the model card."""
        return RunFolder(self.path).card_file

    @property
    def adapter(self) -> Path:
        """Loads with `PeftModel.from_pretrained(base, adapter)` on the original base."""
        return RunFolder(self.path).adapter

    @property
    def merged(self) -> Path:
        """The model with the change merged in, where the recipe's `export` asks for it; of retraining the new model."""
        return RunFolder(self.path).merged

    @property
    def assistant(self) -> Path:
        """What `load_assisted` loads beside the original base; the method `uld` alone writes it."""
        return RunFolder(self.path).assistant

    @property
    def importance(self) -> Path:
        """`importance.safetensors`: module name → (d_out,) fp32, where the adapter's initialisation measures it."""
        return RunFolder(self.path).importance_file

    def evaluation(self, stage: str) -> Path:
        """The evaluation log `before`, `after`, `reference` or `epoch-K`."""
        return RunFolder(self.path).evaluation(stage)

    def model(self) -> Any:
        """The model that was handed over, on this process's device and in eval mode.

        An adapter by PEFT on its base, the adapters of earlier runs added to it; a merged model by itself; an assistant
        beside the original (see `load_assisted`).

        Raises `InputError` where the run has not got to its export or forgot nothing, and where the base is another
        one by now.
        """
        folder = RunFolder(self.path)
        if (problem := folder.without_export) is not None:
            raise InputError(problem)
        return _load(folder.recipe.model, self.path, folder.state.deliverable)

    @property
    def _chosen_epoch(self) -> EpochRow | None:
        """The line of `metrics.jsonl`; None where no model was handed over."""
        folder = RunFolder(self.path)
        if folder.state.ended or folder.state.training is None:
            return None
        best = folder.state.training.best_epoch
        return next(row for row in folder.epochs if row.epoch == best)


class ContinualRun(Run):
    """A finished run of several requests; its adapter holds the changes of all of them.

    `evaluation` and `importance` are those of the last request: see `requests`.
    """

    @property
    def state(self) -> dict[str, Any]:
        """The content of `continual.json`."""
        return ContinualFolder(self.path).document

    @property
    def requests(self) -> list[Run]:
        """The run of each request."""
        folder = ContinualFolder(self.path)
        return [Run(folder.request(number + 1).path) for number in range(len(self.state["requests"]))]

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """As `Run.metrics`, the names preceded by the number of the request: `1/forget_probability`.

        before: as the request found it; after: at the end of all requests
        """
        requests = self.state["requests"]
        sides = {
            "before": [request["metrics"]["before"] for request in requests],
            "after": [requests[-1]["forget_sets"][str(number + 1)] for number in range(len(requests))],
            "reference": [request["metrics"]["reference"] or {} for request in requests],
        }
        return {
            side: {
                f"{number}/{name}": value
                for number, metrics in enumerate(requests, start=1)
                for name, value in metrics.items()
            }
            for side, requests in sides.items()
        }

    @property
    def verdict(self) -> Overall:
        """What the report says of all forget sets as the last request left them, and of the utility."""
        from ..report.continual import overall  # imports matplotlib, which takes time

        return overall(ContinualFolder(self.path))

    @property
    def forgot_nothing(self) -> bool:
        """Whether the training of any request forgot nothing."""
        return any(run.forgot_nothing for run in self.requests)

    @property
    def score(self) -> float:
        """That of the last request, after its chosen epoch; `metrics` tells what became of the earlier forget sets."""
        return self.requests[-1].score

    @property
    def utility(self) -> float | None:
        """What is left after the last request."""
        return self.state["utility"]["after"][-1]

    @property
    def original_utility(self) -> float | None:
        """That of the model before all requests."""
        return self.state["utility"]["original"]

    @property
    def importance(self) -> Path:
        """That of the last request."""
        return self.requests[-1].importance

    def evaluation(self, stage: str) -> Path:
        """The last request's log `before`, `after`, `reference`, `epoch-K`, or `request-J`: the forget set of request J
        after the last one."""
        return self.requests[-1].evaluation(stage)

    def model(self) -> Any:
        """The original model with the changes of all requests, as one adapter by PEFT.

        Raises `InputError` where the run is not over, or no request forgot anything.
        """
        folder = ContinualFolder(self.path)
        if (problem := folder.without_export) is not None:
            raise InputError(problem)
        original = folder.requests.whole.model.model_copy(update={"adapters": []})
        return _load(original, self.path, "adapter")


def _load(base: Any, folder: Path, form: str) -> Any:
    """The model of a form (`adapter`, `merged` or `assistant`) in a run folder. base: the recipe's `Model`"""
    # These import torch, which all else here does without.
    from ..adapters.assistant import load_assisted
    from ..adapters.export import load_adapter
    from ..adapters.loading import load_model

    if form == "merged":
        return load_model(
            base.model_copy(update={"path": str(folder / form), "revision": None, "adapters": []})
        )
    load = load_assisted if form == "assistant" else load_adapter
    return load(load_model(base), folder / form).eval()
