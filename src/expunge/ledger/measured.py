"""The forget sets of all requests, measured again on the model that an entry leaves."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..adapters.loading import load_model
from ..benchmarks.measures import declared
from ..errors import InputError
from ..evaluation.log import EvaluationLog
from ..evaluation.metric import Metric
from ..evidence.statement import Measured
from ..folder.epochs import EpochsFolder
from ..folder.ledger import LedgerFolder
from ..models.fingerprint import fingerprint
from ..models.settings import Model
from ..progress import say
from ..recipe import Recipe
from ..run.earlier import forget_log
from ..run.inputs import Inputs
from ..run.stated import measured

Figures = dict[str, Measured]


@dataclass
class Readable:
    """A request whose forget set can still be read. It is deleted one day, and then nothing more can be measured."""

    number: int
    inputs: Inputs


def readable(ledger: LedgerFolder, numbers: Sequence[int]) -> tuple[list[Readable], dict[int, str]]:
    """The requests whose forget sets can be measured, and why the others cannot, by number."""
    found, reasons = [], {}
    for number in numbers:
        run = ledger.run(number)
        try:
            inputs = Inputs(_without_adapters(run.recipe))
            then, now = run.state.data.forget.hash, inputs.data.forget.describe()["hash"]
        except InputError as error:
            reasons[number] = f"what it was measured with can no longer be read ({error.problems[0].where})"
            continue
        if then != now:
            reasons[number] = "its forget set is another one by now"
            continue
        if not run.evaluation(run.last_stage).is_file():
            reasons[number] = "what the model said of it is deleted"
            continue
        found.append(Readable(number, inputs))
    for number, reason in reasons.items():
        say(f"  the forget set of request {number} is not measured: {reason}")
    return found, reasons


def _without_adapters(recipe: Recipe) -> Recipe:
    """Those beneath it lie where the ledger lay then, and nothing here asks for them."""
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"adapters": []})})


@dataclass
class Remeasured:
    """The model with the adapters `active`, on forget sets whose logs go to `folder`; those that are there stay."""

    ledger: LedgerFolder
    active: Sequence[int]
    settings: Model
    folder: EpochsFolder

    def measure(self, request: Readable, whole: bool = False) -> EvaluationLog:
        """The log of a request's forget set; `whole`: of all that its benchmark measures."""
        number, inputs = request.number, request.inputs
        file = self.folder.evaluation(f"request-{number}")
        if file.exists():
            return inputs.benchmark.read_log(file)
        say(f"  measuring the forget set of request {number}")
        run = self.ledger.run(number)
        rest = None if whole else inputs.benchmark.read_log(run.evaluation(run.last_stage)).sets
        generate = inputs.recipe.evaluation.generate != "never"
        log = forget_log(self.model, inputs, run, generate=generate, rest=rest)
        log.model = {"path": self.settings.path, "fingerprint": fingerprint(self.model), "adapter": None}
        self.folder.write_log(f"request-{number}", log)
        return log

    @cached_property
    def model(self) -> Any:
        gc.collect()  # the trainer's cycles hold the model of a run that is over
        return load_model(with_adapters(self.settings, self.ledger, self.active), "model.path")


def with_adapters(model: Model, ledger: LedgerFolder, active: Sequence[int]) -> Model:
    """The original `model` with the adapters of the requests `active`."""
    return model.model_copy(update={"adapters": [str(ledger.run(number).adapter) for number in active]})


def of_forget_set(metrics: Mapping[str, Metric]) -> Figures:
    """The figures that tell of the forget set."""
    found = {}
    for name, metric in metrics.items():
        measure = declared(name)
        figure = measured(metric)
        if measure is not None and measure.of_forget_set and figure is not None:
            found[name] = figure
    return found
