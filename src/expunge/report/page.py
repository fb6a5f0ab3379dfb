"""report.html: one file that needs nothing else."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ..benchmarks.tofu.metrics import forget_log_ratios, shift
from ..folder.run import RunFolder, read_run_folder
from ..storage import write_text
from ..training.selection import UTILITY_SHARE
from . import quantities
from .attack_bars import attack_bars, variant_rows
from .attack_curves import attack_curves
from .deliverable import deliverable
from .evidence import Evidence
from .figures import loss_curves, truth_ratio_distributions, utility_against_forgetting
from .glossary import glossary
from .importance_map import importance_map
from .markdown import argument, code, prose
from .recalled import recalled
from .samples import samples
from .tables import cost_rows, examples, metric_rows, request_rows, trial_rows
from .verdict import judge, limits

#: Digits of a hash that are shown where it is not needed whole.
HASH_SHOWN = 12


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
        recalled=recalled(evidence),
        samples=samples(folder, whole=show_text),
        whole=show_text,
    )
    write_text(folder.report_file, text, private=show_text)
    return folder.report_file


def overview(folder: RunFolder) -> dict[str, Any]:
    """The facts about the run that the templates state beside its tables; every key is present."""
    run = folder.state
    forget = run.data.forget
    return {
        "name": run.name,
        "asked": f"{examples(forget, briefly(forget.source))}, by the model {briefly(run.model.path)}",
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
        last=training is not None and training.choose == "last",
        qualified=training.qualified if training else True,
        aims=training.aims if training else "probabilities",
        ended=folder.state.ended,
        futile=training.futile if training else None,
        stopped=training.stopped if training else None,
        failed=folder.state.state == "failed",
        surrogate=dict(surrogate) if surrogate else {},
        attacks=folder.state.attacks,
        rate_found=folder.state.tuning is not None,
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
        shortened=shortened,
        sentence=sentence,
        coded=coded,
    )
    environment.tests["hash"] = is_hash
    return environment


def briefly(path: str) -> str:
    """A file or folder of this machine by its name; "What was asked" has its whole path."""
    return PurePath(path).name if PurePath(path).is_absolute() else path


def is_hash(value: str) -> bool:
    """Whether it is a hash or a fingerprint, which nobody reads."""
    return re.fullmatch("[0-9a-f]{16,}(-[0-9a-f]{16,})?", value) is not None


def shortened(value: str) -> str:
    """A hash by its beginning, whole on demand; anything else as it is."""
    return (
        Markup('<code title="{}">{}…</code>').format(value, value[:HASH_SHOWN]) if is_hash(value) else value
    )


def coded(text: str) -> Markup:
    """What stands between backticks as code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


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
