"""After a request: the forget sets of the requests before it, measured again on the model that it left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..adapters.loading import load_model
from ..evaluation.log import EvaluationLog, QuestionRecord
from ..evaluation.metric import Metric
from ..folder.run import RunFolder
from ..models.fingerprint import fingerprint
from ..models.processes import processes
from ..progress import say
from .inputs import Inputs


def measure_earlier(inputs: Sequence[Inputs], runs: Sequence[RunFolder]) -> dict[int, dict[str, Metric]]:
    """Number of each earlier request → its benchmark's metrics on the model after the last one of `runs`.

    inputs, runs: of every request up to the last one, whose run is over. Its recipe names the adapters beneath.

    Logs that are there are not made again: `eval/request-J.json` in the last one's folder. Every forget set is
    compared with its own reference. What is measured beside the forget set is the same for all of them, and comes
    from the last request's own evaluation.
    """
    run, last = runs[-1], inputs[-1]
    files = {number: run.evaluation(f"request-{number}") for number in range(1, len(runs))}
    missing = [number for number, file in files.items() if not file.exists()]
    processes().wait_for_everyone()  # all have looked before one is written
    if missing:
        _measure(inputs, runs, missing)
        processes().wait_for_everyone()
    return {number: inputs[number - 1].benchmark.read_log(file).metrics for number, file in files.items()} | {
        len(runs): last.benchmark.read_log(run.evaluation(run.last_stage)).metrics
    }


def _measure(inputs: Sequence[Inputs], runs: Sequence[RunFolder], missing: Sequence[int]) -> None:
    run, last = runs[-1], inputs[-1]
    recipe = run.recipe
    added = [] if run.state.ended else [str(run.adapter)]
    model = load_model(recipe.model.model_copy(update={"adapters": [*recipe.model.adapters, *added]}))
    after = last.benchmark.read_log(run.evaluation(run.last_stage))
    for number in missing:
        say(f"  measuring the forget set of request {number} again")
        log = forget_log(
            model,
            inputs[number - 1],
            runs[number - 1],
            generate=recipe.evaluation.generate != "never",
            rest=after.sets,
        )
        log.model = {
            "path": recipe.model.path, "fingerprint": fingerprint(model), "adapter": added[0] if added else None,
        }  # fmt: skip
        if processes().is_main_process:
            run.write_log(f"request-{number}", log)


def forget_log(
    model: Any,
    inputs: Inputs,
    run: RunFolder,
    *,
    generate: bool,
    rest: Mapping[str, list[QuestionRecord]] | None = None,
) -> EvaluationLog:
    """What `model` does on the forget set of a request, compared with the request's own reference.

    inputs, run: of the request
    rest:        records of the sets that say nothing of the forget set, where they need not be measured again
    """
    benchmark, encoder = inputs.benchmark, inputs.encoder
    part = benchmark if rest is None else benchmark.forget_part()
    log = part.measure(model, encoder)
    if generate:
        log = part.generate(model, encoder, log)  # not `evaluate`, which takes the attack's gradients as well
    if rest is not None:
        sets = {name: records or rest.get(name, records) for name, records in log.sets.items()}
        log = replace(log, sets=sets, data=benchmark.data)
    reference, before = (
        benchmark.read_log(file) if file.exists() else None
        for file in (run.evaluation("reference"), run.evaluation("before"))
    )
    log.metrics = benchmark.all_metrics(log, reference, before)
    return log
