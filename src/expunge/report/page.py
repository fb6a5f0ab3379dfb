"""report.html: one file that needs nothing else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from ..benchmarks.tofu.metrics import shift
from ..evaluation.log import QuestionRecord
from ..folder.run import RunFolder, read_run_folder
from ..storage import write_text
from ..training.selection import UTILITY_SHARE
from . import quantities
from .attack_bars import attack_bars, variant_rows
from .attack_curves import attack_curves
from .deliverable import deliverable
from .evidence import Evidence, forget_log_ratios
from .figures import loss_curves, truth_ratio_distributions, utility_against_forgetting
from .glossary import glossary
from .importance_map import importance_map
from .markdown import argument, code, prose
from .tables import cost_rows, metric_rows, request_rows, trial_rows
from .verdict import judge, limits


def write_report(run_folder: Path, show_text: bool = False) -> Path:
    """Write `report.html` into a run folder, from the files in it alone, and return its path.

    The same files give the same bytes. With `show_text` the report has the forgotten answers and what the
    model generates for their questions, and only its owner may read it; without it, no text of the data set is in it.

    Raises `InputError` when `run_folder` is no run folder or a file in it cannot be read.
    """
    folder = read_run_folder(Path(run_folder))
    evidence = gather_evidence(folder)
    metrics = metric_rows(folder)
    page = templates().get_template("report.html.j2")
    text = page.render(
        run=overview(folder),
        verdict=judge(evidence),
        limits=limits(evidence),
        request=request_rows(folder),
        metrics=metrics,
        glossary=glossary(row.name for row in metrics),
        attacks=folder.state.attacks,
        variants=variant_rows(folder.state.attacks),
        figures={
            "attacks": attack_bars(folder.state.attacks),
            "attack_curves": attack_curves(folder.state.attacks),
            "frontier": utility_against_forgetting(folder),
            "truth_ratio": truth_ratio_distributions(folder),
            "losses": loss_curves(folder),
            "importance": importance_map({name: d for name, d in folder.importance.items() if d.ndim == 1}),
        },
        trials=trial_rows(folder),
        questions=folder.state.tuning.questions if folder.state.tuning else 0,
        costs=cost_rows(folder),
        storage=storage(folder),
        texts=forget_texts(folder) if show_text else None,
    )
    write_text(folder.report_file, text, private=show_text)
    return folder.report_file


def overview(folder: RunFolder) -> dict[str, Any]:
    """The facts about the run that the templates state beside its tables; every key is present."""
    run = folder.state
    return {
        "name": run.name,
        "command": " ".join(run.command),
        "versions": run.versions,
        "machine": run.machine,
        "fingerprint": run.model.fingerprint,
        "has_reference": bool(folder.metrics("reference")),
        "recipe": folder.recipe_text,
    }


def gather_evidence(folder: RunFolder) -> Evidence:
    """Gather the evidence of a run, from which the verdict is reached."""
    training, surrogate = folder.state.training, folder.state.data.surrogate
    direction = None
    if "after" in folder.logs and "reference" in folder.logs:
        direction = shift(*(forget_log_ratios(folder.logs[stage]) for stage in ("after", "reference")))
    return Evidence(
        before=folder.metrics("before"),
        after=folder.metrics("after"),
        reference=folder.metrics("reference"),
        shift=direction,
        floor=training.utility_floor if training else UTILITY_SHARE,
        utility=training.utility_metric if training else None,
        epoch=training.best_epoch if training else None,
        qualified=training.qualified if training else True,
        aims=training.aims if training else "probabilities",
        ended=folder.state.ended,
        futile=training.futile if training else None,
        stopped=training.stopped if training else None,
        failed=folder.state.state == "failed",
        surrogate=dict(surrogate) if surrogate else {},
        attacks=folder.state.attacks,
        limit="" if folder.state.ended else deliverable(folder).limit,
    )


@cache
def templates() -> jinja2.Environment:
    """The templates of this package; HTML is escaped, and a name that is not there is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("expunge.report", "."),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=quantities.number,
        count=quantities.count,
        size=quantities.size,
        percent=quantities.percent,
        prose=prose,
        code=code,
        argument=argument,
    )
    return environment


def storage(folder: RunFolder) -> dict[str, Any] | None:
    """How much is trained and stored, compared with the whole model; None where the run says neither."""
    model, adapter = folder.state.model, folder.state.adapter
    if not adapter.trainable_parameters or not model.parameters:
        return None
    return {
        "trainable": adapter.trainable_parameters,
        "parameters": model.parameters,
        "trainable_share": adapter.trainable_parameters / model.parameters,
        "adapter_bytes": adapter.bytes,
        "model_bytes": model.bytes,
        "stored_share": adapter.bytes / model.bytes if adapter.bytes and model.bytes else None,
    }


def forget_texts(folder: RunFolder) -> list[dict[str, str]]:
    """The right answers to the forget questions, and those that the model generated before and after."""
    before, after = (
        {record.index: record for record in folder.logs[stage].sets.get("forget", ())}
        if stage in folder.logs
        else {}
        for stage in ("before", "after")
    )

    def generated(record: QuestionRecord | None) -> str:
        return (record.generation if record else None) or quantities.NONE

    return [
        {
            "index": str(index),
            "truth": (after.get(index) or before[index]).truth or "",
            "before": generated(before.get(index)),
            "after": generated(after.get(index)),
        }
        for index in sorted({*before, *after})
    ]
