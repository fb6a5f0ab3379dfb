"""The work behind `expunge attack`: attacks on the model of a finished run, or on any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..adapters.loading import load_model
from ..adapters.weights import read_exported
from ..attacks.items import make_items
from ..attacks.leaks import Leak
from ..attacks.settings import Budget
from ..data.sets import load_data
from ..data.settings import OwnData
from ..data.templates import TEMPLATES
from ..errors import InputError, Problem, nearest
from ..folder.attacks import AttackFolder
from ..folder.ledger import LedgerFolder
from ..folder.lock import locked
from ..folder.requests import ContinualFolder
from ..folder.run import RunFolder, read_run_folder
from ..folder.state import AttackFacts
from ..intact import check_writable
from ..models.half_precision import passing_in
from ..models.loadable import check_loadable
from ..models.loading import load_config, load_tokenizer
from ..models.processes import processes
from ..models.settings import Model
from ..objectives.loss import Aim
from ..progress import say
from ..report.card import write_model_card
from ..report.page import gather_evidence, write_report
from ..report.verdict import judge
from .attack import Target, check_names, of_budget, run_attacks
from .inputs import Inputs, make_encoder
from .surrogate import itself
from .targets import IN_FULL, files_of, handed_over, target_of_run
from .written import read_written


@dataclass(frozen=True)
class ModelUnderAttack:
    """A model without a run: with an adapter that made it forget, or beside the model that it was before.

    model:    folder or hub id: the base of the adapter, else the model that has forgotten
    adapter:  folder of the exported adapter
    original: the model from before, where there is no adapter
    data, retain, holdout: files of the user's own: what was to go, what was to stay, what no model ever saw
    output:   folder for what is measured, from which an interrupted attack goes on
    template: how a question and its answer are written
    aims:     what the loss was to change: the answers that the model writes, or the probabilities of the true ones
    leak:     which text counts as a leak
    """

    model: str
    data: str
    output: Path
    adapter: Path | None = None
    original: str | None = None
    retain: str | None = None
    holdout: str | None = None
    reference: str | None = None
    leak: Leak = field(default_factory=Leak)
    template: str = "auto"
    aims: Aim = "probabilities"


def attack_run(
    run_folder: Path,
    names: Sequence[str] | None,
    budget: Budget,
    reference: str | None = None,
    leak: Leak | None = None,
) -> AttackFacts:
    """Attack what a finished run has handed over; its verdict, report and model card take the result in.

    Raises `InputError` for a run that has handed over no model, whose data are others by now, or that is one of several
    requests; and for names of no attack.
    """
    check_names(names or (), budget)
    with locked(run_folder, str(run_folder)):
        return _attack_run(run_folder, names, budget, reference, leak or Leak())


def _attack_run(
    run_folder: Path, names: Sequence[str] | None, budget: Budget, reference: str | None, leak: Leak
) -> AttackFacts:
    if ContinualFolder(run_folder).state_file.exists():
        raise InputError(
            Problem(
                str(run_folder),
                "it is a run of several requests.",
                f"Name one of them: {run_folder}/requests/1.",
            )
        )
    if LedgerFolder(run_folder.resolve().parent.parent).identity_file.is_file():
        raise InputError(
            Problem(
                str(run_folder),
                "it is of a ledger, whose entries hold the hashes of its files.",
                "Copy it to another place, and attack it there.",
            )
        )
    folder = RunFolder(run_folder)
    if (problem := folder.without_export) is not None:
        raise InputError(problem)
    if reference is not None:
        check_loadable(Model(path=reference), "--reference")
    inputs = Inputs(folder.recipe)
    now, then = inputs.data.forget.describe()["hash"], folder.state.data.forget.hash
    if now != then:
        raise InputError(
            Problem(f"data.forget: {inputs.data.forget.source}", "it is not what the run has made the model forget.",
                    "Restore the file.")
        )  # fmt: skip
    _read_written_retain_set(inputs, folder)
    target = replace(target_of_run(inputs, folder, reference), leak=leak)
    with passing_in(folder.precision):
        facts = run_attacks(target, folder.attacks_of(budget), budget, names)
    all_of_them = _with_earlier(folder.state.attacks, facts)
    if all_of_them is None:
        say(
            f"  Not taken into the run's verdict, which rests on attacks beside {_beside(folder.state.attacks)}. Make "
            "all of the cheap ones with this reference, by naming none, and they take their place."
        )
    elif processes().is_main_process:
        folder.update(attacks=all_of_them.model_dump(mode="json"))
        folder.update(verdict=judge(gather_evidence(read_run_folder(folder.path))).to_json())
        write_model_card(folder.path)
        write_report(folder.path)
    return facts


def _read_written_retain_set(inputs: Inputs, folder: RunFolder) -> None:
    """Complete the data by the samples that the original model wrote for the run (`data.retain: self`)."""
    written = folder.state.data.surrogate
    if not inputs.recipe.data.retains_itself or written is None or written.folder is None:
        return
    if not Path(written.folder).is_dir():
        say(
            f"  The retain set that the model wrote is not in {written.folder} any more: what an attack makes of it is "
            "left out."
        )
        return
    writer = itself(inputs.encoder, inputs.data.forget, len(inputs.forget), inputs.recipe.data)
    inputs.data = replace(inputs.data, retain=read_written(Path(written.folder), writer).samples)


def _with_earlier(earlier: AttackFacts | None, made: AttackFacts) -> AttackFacts | None:
    """What was made, and of what was made before what is not made anew; None where the two are compared with different
    models, and what was made is not all that the verdict asks for."""
    if earlier is None or earlier.ground == "none":
        return made
    if (earlier.ground, earlier.reference) != (made.ground, made.reference):
        return None if made.missing else made
    return made.model_copy(
        update={
            "budget": "full" if earlier.budget == made.budget == "full" else "cheap",
            "items": min(earlier.items, made.items),
            "outcomes": {**earlier.outcomes, **made.outcomes},
            "missing": [name for name in made.missing if name not in earlier.outcomes],
            "beyond": [name for name in made.beyond if name not in earlier.outcomes],
        }
    )


def _beside(facts: AttackFacts | None) -> str:
    return facts.reference if facts and facts.reference else "the holdout"


def attack_model(asked: ModelUnderAttack, names: Sequence[str] | None, budget: Budget) -> AttackFacts:
    """Attack a model without a run.

    Raises `InputError` with what is wrong with the models and the files, and where neither an adapter nor an original
    tells what was there before.
    """
    check_names(names or (), budget)
    if (asked.adapter is None) == (asked.original is None):
        reason = "what came back can only be told beside the model from before."
        remedy = "Give --adapter with its base as MODEL, or --original with the unlearned model as MODEL: one of both."
        raise InputError(Problem("--adapter", reason, remedy))
    known = ("auto", *TEMPLATES)
    if asked.template not in known:
        reason = f"there is no template {asked.template!r}."
        raise InputError(Problem("--template", reason, nearest(asked.template, known)))
    check_writable(asked.output, "--output")
    given = Model(path=asked.model, **IN_FULL)
    check_loadable(given, "MODEL")
    if asked.reference is not None:
        check_loadable(Model(path=asked.reference), "--reference")
    section = OwnData(forget=asked.data, retain=asked.retain, holdout=asked.holdout, template=asked.template)
    data = load_data(section, retain_needed=False)
    encoder = make_encoder(load_tokenizer(given, "MODEL"), section, load_config(given, "MODEL"))
    forget, retain, holdout = (
        make_items(part.samples if part else (), encoder, {})
        for part in (data.forget, data.retain, data.holdout)
    )
    original = Model(path=asked.original, **IN_FULL) if asked.original else given
    after: Any = (
        partial(handed_over, original, asked.adapter, "adapter")
        if asked.adapter
        else partial(load_model, given)
    )
    paths = {
        "model": asked.model,
        "original": asked.original,
        "adapter": asked.adapter,
        "reference": asked.reference,
    }
    target = Target(
        original=partial(load_model, original),
        after=after,
        reference=partial(load_model, Model(path=asked.reference, **IN_FULL)) if asked.reference else None,
        reference_path=asked.reference,
        identity={name: files_of(str(path)) for name, path in paths.items() if path},
        encoder=encoder,
        forget=forget,
        retain=retain,
        holdout=holdout,
        change=read_exported(asked.adapter)[1] if asked.adapter else {},
        answers=asked.aims == "answers",
        leak=asked.leak,
    )
    if target.ground == "none":
        say(
            "There is neither a model that never saw the data (--reference) nor text that this one never saw "
            "(--holdout) to compare with: what follows are bare values, not shares of what was lost."
        )
    return run_attacks(target, AttackFolder(asked.output), budget, names)


def catalogue() -> list[dict[str, Any]]:
    """Every attack by name, with what it does, its cost, the least budget that it is part of, and its source."""
    return [
        {
            "name": name,
            "title": attack.title,
            "budget": attack.budget,
            "cost": attack.cost,
            "counts": attack.counts,
            "paper": attack.paper,
        }
        for name, attack in of_budget("full").items()
    ]
