"""A deletion request, run on the model that the last one left, and recorded: `expunge ledger add`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..evaluation.metric import Metric
from ..evidence.merkle import merkle_root
from ..evidence.statement import Judgement
from ..folder.ledger import Entry, Kept, LedgerFolder, Pending
from ..folder.lock import locked
from ..folder.machine import now
from ..folder.run import RunFolder, read_run_folder
from ..progress import say
from ..recipe import Recipe
from ..recipe.loading import naming_recipe
from ..report.page import gather_evidence
from ..report.verdict import judge
from ..run.inputs import Inputs
from ..run.single import run_recipe
from ..run.stated import facts_of, judgement
from ..storage import file_checksum
from .asked import begin, check_same, entries_of, read_request, recipe_digest
from .entry import check_one_process, check_signing, deliver, digests_in, sign_entry
from .measured import Readable, Remeasured, of_forget_set, readable, with_adapters


def add(
    folder: str | Path,
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    identifier: str | None = None,
    received: str | None = None,
    fields: Mapping[str, str] | None = None,
    key: Path | None = None,
    operator: str | None = None,
    anew: bool = False,
    resume: bool = False,
) -> Entry:
    """Run a request in the ledger `folder`, which is made where it is not there, and append its entry.

    recipe:     of one forget set and the original model; the ledger adds the adapters of the requests before
    identifier: the operator's name for the request, no person's; `request-N` if None
    received:   when it came, as ISO 8601; now if None
    fields:     what else is to be noted. No text of the data
    key:        private key by which the entry is attested at once
    anew:       run it in the place of the requests whose forget sets the recipe's contains, on the model without their
                adapters: nothing that they have done to it is left, neither forgetting nor loss
    resume:     go on with a request that was interrupted; where none was, it is begun, and where it is over, that is
                said

    The entry counts from the moment when its file is there, which is written as a whole. Raises `InputError` for wrong
    input, before anything is written, for a ledger that is damaged, and for a request that was begun and is not over.
    """
    check_one_process()
    with naming_recipe(recipe), locked(Path(folder), str(folder)):
        ledger, wanted = LedgerFolder(folder), read_request(recipe, overrides)
        entries = entries_of(ledger)
        digest = recipe_digest(wanted)
        pending = ledger.settle()
        before = entries[-1] if entries else None
        same = (
            before is not None
            and before.given == digest
            and identifier in (None, before.id)
            and anew in (False, bool(before.replaces))
            and received in (None, before.received)
            and (not fields or dict(fields) == before.fields)
        )
        if resume and pending is None and before is not None and same and _is_of(ledger, before, wanted):
            say(f"Entry {before.number} ({before.id}) is this request: it was added before.")
            sign_entry(ledger, before.number, key, operator)
            return before
        check_signing(ledger, key)
        if pending is None:
            asked = Pending(
                number=len(entries) + 1,
                id=identifier or f"request-{len(entries) + 1}",
                received=received or now(),
                fields=dict(fields or {}),
                recipe=digest,
            )
            pending = begin(ledger, entries, wanted, asked, anew)
        elif not resume:
            raise InputError(
                Problem(str(ledger.path), f"request {pending.number} ({pending.id}) was begun and is not over.",
                        "Go on with it by --resume, or delete pending.json and its folder in requests/ to give it up.")
            )  # fmt: skip
        else:
            check_same(ledger, pending, digest, identifier, received, fields, anew)
            if not ledger.run(pending.number).state_file.exists():  # its data may be others by now
                pending = begin(ledger, entries, wanted, pending.model_copy(update={"replaces": []}), anew)
        instead = f", in the place of {_numbers(pending.replaces)}" if pending.replaces else ""
        say(f"Request {pending.number} ({pending.id}){instead}")
        _add(ledger, entries, wanted, pending)
        ledger.settle()
        sign_entry(ledger, pending.number, key, operator)
        return ledger.entry(pending.number)


def _is_of(ledger: LedgerFolder, entry: Entry, recipe: Recipe) -> bool:
    """Whether the recipe's file still holds the samples of the entry. Where its salt is gone nobody can tell."""
    source = recipe.data.sources()["forget"]
    if entry.facts is None or source is None or not ledger.salt_file(entry.number).is_file():
        return True
    samples = recipe.data.read("forget", source)[0].samples
    return merkle_root(samples, ledger.salt(entry.number)) == entry.facts.forget_set.merkle_root


def _numbers(requests: Sequence[int]) -> str:
    return f"request{'s' if len(requests) > 1 else ''} {', '.join(map(str, requests))}"


def _add(ledger: LedgerFolder, entries: Sequence[Entry], recipe: Recipe, pending: Pending) -> None:
    number = pending.number
    active = entries[-1].active if entries else []
    beneath = [each for each in active if each not in pending.replaces]
    run = ledger.run(number)
    recipe = recipe.model_copy(update={"name": pending.id, "output": str(run.path), "export": ["adapter"]})
    inputs = Inputs(recipe)
    measured_on = _measured_on(recipe, inputs, ledger.salt(number))
    comparable = [
        entry.utility for entry in entries if entry.utility and entry.utility.measured_on == measured_on
    ]
    earliest = comparable[0] if comparable else None
    run_recipe(
        recipe.model_copy(update={"model": with_adapters(recipe.model, ledger, beneath)}),
        resume=True,
        original_utility=earliest.original if earliest else None,
    )
    run.reload()
    if not run.state.ended:
        active = [*beneath, number]
    requests = [entry.number for entry in entries if entry.kind == "request"]
    measurable, unmeasured = readable(ledger, requests)
    again = Remeasured(ledger, active, recipe.model, run)
    forget_sets = {each.number: of_forget_set(again.measure(each).metrics) for each in measurable}
    left = run.metrics(run.last_stage)
    if run.state.ended and pending.replaces:
        # It ran on a model that nobody is given: the adapters of before stay.
        left = again.measure(Readable(number, inputs), whole=True).metrics
    for checkpoints in [*run.path.rglob("checkpoints")]:
        shutil.rmtree(checkpoints)  # models that have half forgotten, and several times the size of all else
    files = {} if run.state.ended else digests_in(ledger, run.adapter)
    private = {file: digest for file, digest in digests_in(ledger, run.path).items() if file not in files}
    salt = ledger.salt_file(number)
    samples = inputs.data.forget.samples
    base = run.state.model
    utility = _utility(recipe, inputs, run.metrics("before"), left, earliest, measured_on, number)
    facts = facts_of(run, len(samples), merkle_root(samples, ledger.salt(number)), left)
    ledger.write_entry(
        Entry(
            number=number,
            kind="request",
            previous=ledger.head(number - 1),
            id=pending.id,
            received=pending.received,
            done=now(),
            fields=pending.fields,
            given=pending.recipe,
            replaces=[] if run.state.ended else pending.replaces,
            facts=facts.model_copy(update={"verdict": verdict_on(run, utility)}),
            ended=run.state.ended,
            active=active,
            forget_sets={**forget_sets, number: of_forget_set(left)},
            unmeasured=unmeasured,
            utility=utility,
            files=files,
            private={**private, salt.relative_to(ledger.path).as_posix(): file_checksum(salt)},
            deliverable=deliver(ledger, active, base.path, base.revision),
        )
    )


def _utility(
    recipe: Recipe,
    inputs: Inputs,
    before: Mapping[str, Metric],
    after: Mapping[str, Metric],
    earliest: Kept | None,
    measured_on: str,
    number: int,
) -> Kept | None:
    """What the run's utility rule looked at, after the request. earliest: that of the first that measured the same"""
    name = inputs.benchmark.utility_metric(before, generated=recipe.evaluation.generate == "every")
    if name is None or name not in after:
        return None
    return Kept(
        metric=name,
        original=earliest.original if earliest else before[name].value,
        since=earliest.since if earliest else number,
        after=after[name].value,
        measured_on=measured_on,
    )


def verdict_on(run: RunFolder, utility: Kept | None) -> Judgement:
    """The verdict on a request: as the run has it, but that several losses of utility add up."""
    evidence = gather_evidence(read_run_folder(run.path))
    if utility is not None and not run.state.ended:
        name = utility.metric
        original = replace(evidence.before[name], value=utility.original, low=None, high=None)
        evidence = replace(evidence, before={**evidence.before, name: original})
    return judgement(judge(evidence))


def _measured_on(recipe: Recipe, inputs: Inputs, salt: str) -> str:
    """A hash of what the utility is measured on: of two requests with the same one the utilities can be compared.

    salt: the request's own. The model's own samples are another set in every request, and it stands for them: a hash of
          what they follow from, the forget set, could be guessed
    """
    kept = inputs.data.retain
    facts = [
        inputs.benchmark.name,
        inputs.benchmark.metric_version,
        salt if recipe.data.retains_itself else kept.describe()["hash"] if kept else None,
        recipe.seed,
        recipe.evaluation.model_dump(mode="json", exclude={"reference", "before", "every"}),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
