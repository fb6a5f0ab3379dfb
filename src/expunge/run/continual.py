"""Continual unlearning: requests one after another, each from the model that the last one left (LoKU App. D.1)."""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from transformers import TrainerCallback

from ..adapters.loading import write_merged
from ..adapters.stack import combine_adapters
from ..adapters.weights import CONFIG_FILE, WEIGHTS_FILE
from ..evaluation.metric import Metric
from ..folder.begun import is_begun
from ..folder.lock import locked
from ..folder.machine import now
from ..folder.requests import ContinualFolder
from ..hub import recording
from ..models.loading import load_tokenizer
from ..models.processes import processes
from ..progress import say
from ..recipe.requests import Requests
from ..report.continual import overall, write_continual_report
from ..report.continual_card import write_continual_card
from ..storage import read_json
from .earlier import measure_earlier
from .inputs import Inputs, check_requests
from .result import ContinualRun
from .single import run_recipe


def run_requests(
    requests: Requests,
    resume: bool,
    callbacks: Sequence[TrainerCallback] = (),
    prepared: AbstractContextManager[None] = nullcontext(),
) -> ContinualRun:
    """Run every request that is not finished yet, measure all earlier forget sets after each, combine the adapters.

    The utility that each request has to keep its share of is that of the model before all of them.
    callbacks: see `unlearn`; each request's training gets them
    prepared:  as for `run_recipe`

    Raises `InputError` for wrong input of any request, before anything is written, and `RunFailed` where one fails.
    """
    folder = ContinualFolder(requests.output)
    with locked(folder.path, f"output: {folder.path}"), prepared, recording() as asked:
        return _run(requests, folder, resume, callbacks, asked)


def _run(
    requests: Requests,
    folder: ContinualFolder,
    resume: bool,
    callbacks: Sequence[TrainerCallback],
    asked: Sequence[str],
) -> ContinualRun:
    """asked: grows by what the hub is asked for"""
    exists = is_begun(folder.path, folder.state_file, resume)
    inputs = check_requests(requests)
    each_facts = [each.facts for each in inputs]
    facts = {
        "data": {**each_facts[0]["data"], "forget": [each["data"]["forget"] for each in each_facts]},
        "inputs": each_facts,
    }
    main_process = processes().is_main_process
    processes().wait_for_everyone()  # all have looked at the folder before it is made
    if exists:
        folder.check_same(requests, facts)
    elif main_process:
        folder.create(requests, {**facts, "network": list(asked)})
    processes().wait_for_everyone()
    if main_process:
        folder.update(state="running", error=None)
    with folder.recording_failure(main_process):
        try:
            for number in range(1, len(inputs) + 1):
                _run_request(requests, inputs, folder, number, callbacks)
                gc.collect()  # the trainer's cycles hold the model of the request that is over
        finally:
            if main_process:
                folder.record_network(asked)
    if main_process:
        _deliver(requests, folder)
    processes().wait_for_everyone()
    say(f"Report: {folder.report_file}")
    return ContinualRun(folder.path)


def _run_request(
    requests: Requests,
    inputs: Sequence[Inputs],
    folder: ContinualFolder,
    number: int,
    callbacks: Sequence[TrainerCallback],
) -> None:
    """The run of one request unless it is over, and what the forget sets so far are after it."""
    recipe = requests.recipes[number - 1]
    beneath = _adapters(requests, folder, number - 1)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"adapters": beneath})})
    title = f"Request {number} of {len(inputs)}: {inputs[number - 1].data.forget.source}"
    if folder.finished(number):
        say(f"{title}: done before")
    else:
        say(title)
        original = _utility(inputs, folder, "before", 1, recipe.evaluation.generate == "every")
        run_recipe(
            recipe, resume=True, original_utility=original if number > 1 else None, callbacks=callbacks
        )
    runs = [folder.request(each) for each in range(1, number + 1)]
    metrics = measure_earlier(inputs[:number], runs)
    if processes().is_main_process:
        _record(requests, inputs, folder, number, metrics)
        write_continual_report(folder.path)


def _record(
    requests: Requests,
    inputs: Sequence[Inputs],
    folder: ContinualFolder,
    number: int,
    forget_sets: dict[int, dict[str, Metric]],
) -> None:
    """Write into `continual.json` what came of a request."""
    run = folder.request(number)
    state = run.document
    entry = {
        "folder": str(run.path.relative_to(folder.path)),
        "adapter": None if run.state.ended else str(run.adapter.relative_to(folder.path)),
        "ended": run.state.ended,
        "model": state["model"],
        "training": state.get("training"),
        "metrics": {**state["metrics"], "after": state["metrics"][run.last_stage]},
        "forget_sets": {
            str(each): {name: metric.to_json() for name, metric in metrics.items()}
            for each, metrics in sorted(forget_sets.items())
        },
    }
    before = folder.document["requests"][: number - 1]
    generated = requests.whole.evaluation.generate != "never"
    folder.update(
        requests=[*before, entry],
        utility={
            "original": _number(_utility(inputs, folder, "before", 1, generated)),
            "after": [
                _number(_utility(inputs, folder, "after", each, generated)) for each in range(1, number + 1)
            ],
        },
    )


def _utility(
    inputs: Sequence[Inputs], folder: ContinualFolder, stage: str, number: int, generated: bool
) -> float:
    """The utility that a request's run measured, NaN where it has not yet."""
    run = folder.request(number)
    metrics = None
    if run.state_file.exists():
        metrics = run.metrics(run.last_stage if stage == "after" else stage)
    if not metrics:
        return math.nan
    return inputs[number - 1].benchmark.utility(metrics, generated=generated)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _adapters(requests: Requests, folder: ContinualFolder, number: int) -> list[str]:
    """The adapters of the model after so many requests, in their order; who forgot nothing left none."""
    runs = [folder.request(each) for each in range(1, number + 1)]
    return [*requests.whole.model.adapters, *(str(run.adapter) for run in runs if not run.state.ended)]


def _deliver(requests: Requests, folder: ContinualFolder) -> None:
    """One adapter for the original base, the merged model where it is asked for, the model card and the report."""
    model = requests.whole.model
    adapters: list[str | Path] = [*_adapters(requests, folder, len(requests.recipes))]
    made = None
    if len(adapters) > len(model.adapters):
        combine_adapters(adapters, folder.adapter, base_name=model.path, revision=model.revision)
        if "merged" in requests.whole.export:
            original = model.model_copy(update={"adapters": []})
            write_merged(original, load_tokenizer(original), folder.adapter, folder.merged)
        config = read_json(folder.adapter / CONFIG_FILE)
        made = {"rank": config["r"], "bytes": (folder.adapter / WEIGHTS_FILE).stat().st_size}
    folder.update(
        state="done",
        finished=folder.state.finished or now(),
        adapter=made,
        verdict=overall(folder).to_json(),
    )
    write_continual_card(folder.path)
    write_continual_report(folder.path)
