"""A deletion request before it is begun: read, held against what the ledger has, and written down as pending."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..adapters.loading import load_model
from ..data.likeness import content
from ..data.sample_set import SampleSet
from ..errors import InputError, Problem
from ..evidence.merkle import make_salt
from ..folder.agreement import recipe_facts
from ..folder.ledger import Entry, LedgerFolder, Pending
from ..folder.machine import now
from ..intact import check_writable
from ..methods import method_of
from ..models.fingerprint import fingerprint
from ..progress import say
from ..recipe import Recipe
from ..recipe.requests import load_requests
from ..run.inputs import Inputs
from ..run.stated import forget_samples
from ..storage import is_taken


def read_request(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    loaded = load_requests(recipe, overrides)
    if not isinstance(loaded, Recipe):
        raise InputError(
            Problem("data.forget", "it is a list, and an entry is one request.", "Add them one after another.")
        )  # fmt: skip
    problems = []
    if loaded.model.adapters:
        problems.append(
            Problem("model.adapters", "the ledger adds the adapters of the requests before.", "Leave it out.")
        )  # fmt: skip
    if loaded.model.quantization:
        problems.append(
            Problem("model.quantization", "the next request adds this one's adapter to the weights, and those that are "
                    "quantised cannot take it.", "Leave it out.")
        )  # fmt: skip
    if "adapter" not in method_of(loaded).forms:
        problems.append(
            Problem("method", f"{loaded.method.name!r} hands over no adapter, which the next request could go on from, "
                    "and which could be left out.", "Use unlearn or task_arithmetic.")
        )  # fmt: skip
    if problems:
        raise InputError(problems)
    return loaded


def entries_of(ledger: LedgerFolder) -> list[Entry]:
    if ledger.exists:
        return ledger.entries
    if is_taken(ledger.path):
        raise InputError(
            Problem(str(ledger.path), "it is a file or a folder that is not empty, and holds no ledger.",
                    "Name a ledger or a new folder.")
        )  # fmt: skip
    check_writable(ledger.path, str(ledger.path))
    return []


def recipe_digest(recipe: Recipe) -> str:
    """Of what a resolved recipe asks for, whatever it is called and wherever its run goes."""
    facts = recipe_facts(recipe.model_dump(mode="json"))
    if facts["data"].get("neighbours") == 0:
        del facts["data"]["neighbours"]  # there were none before there was the key
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def begin(
    ledger: LedgerFolder, entries: Sequence[Entry], recipe: Recipe, asked: Pending, anew: bool
) -> Pending:
    """Write down what was asked, once the recipe's input has been read without a mistake."""
    if asked.id.isdecimal():
        raise InputError(
            Problem("--id", "it could be taken for the number of an entry.", "Give it a letter.")
        )
    if asked.id in [entry.id for entry in entries]:
        raise InputError(
            Problem("--id", f"the ledger has a request {asked.id!r} already.", "Give it another.")
        )
    inputs = Inputs(recipe)
    active = entries[-1].active if entries else []
    if inputs.data.retain is not None:
        _check_retain(ledger, active, inputs.data.retain)
    if anew:
        asked = asked.model_copy(update={"replaces": _contained(ledger, active, inputs.data.forget)})
    if not set(active) - set(asked.replaces):
        _check_base(entries, recipe)
    if not ledger.exists:
        ledger.create(str(uuid.uuid4()), now())
    ledger.begin(asked, make_salt())
    return asked


def _contained(ledger: LedgerFolder, active: Sequence[int], forget: SampleSet) -> list[int]:
    """The requests all of whose forget sets are in this one. Raises `InputError` where there is none."""
    given, contained, others = set(forget.samples), [], []
    for number in active:
        try:
            samples = forget_samples(ledger.run(number))
        except InputError:
            others.append(f"that of request {number} can no longer be read, or has changed since")
            continue
        missing = sum(sample not in given for sample in samples)
        if missing:
            others.append(f"{missing} of the {len(samples)} samples of request {number} are not in it")
        else:
            contained.append(number)
    if not contained:
        raise InputError(
            Problem("--anew", "the recipe's forget set contains that of no earlier request"
                    f"{': ' + '; '.join(others) if others else ''}.",
                    "Put what earlier requests asked to be forgotten into data.forget too, or leave --anew out.")
        )  # fmt: skip
    for reason in others:
        say(f"  its adapter stays beneath: {reason}")
    return contained


def _check_retain(ledger: LedgerFolder, active: Sequence[int], retain: SampleSet) -> None:
    """Raise `InputError` where the retain set would teach again what an earlier request has forgotten, regardless of
    case, space and punctuation.

    Requests whose forget set can no longer be read cannot be compared.
    """
    kept = set(map(content, retain.samples))
    problems = []
    for number in active:
        try:
            shared = sum(content(sample) in kept for sample in forget_samples(ledger.run(number)))
        except InputError:
            continue
        if shared:
            problems.append(
                Problem("data.retain", f"{shared} of its samples are of the forget set of request {number}: they would "
                        "be learnt again.", "Take them out.")
            )  # fmt: skip
    if problems:
        raise InputError(problems)


def check_same(
    ledger: LedgerFolder,
    pending: Pending,
    digest: str,
    identifier: str | None,
    received: str | None,
    fields: Mapping[str, str] | None,
    anew: bool,
) -> None:
    differing = [
        name
        for name, then, given in (
            ("the recipe", pending.recipe, digest),
            ("--id", pending.id, identifier),
            ("--received", pending.received, received),
            ("--field", pending.fields, dict(fields) if fields else None),
            ("--anew", bool(pending.replaces), anew or None),
        )
        if given is not None and then != given
    ]
    if differing:
        raise InputError(
            Problem(str(ledger.pending_file), f"the request was begun with another value of: {', '.join(differing)}.",
                    "Resume with what it was begun with.")
        )  # fmt: skip


def _check_base(entries: Sequence[Entry], recipe: Recipe) -> None:
    """Raise `InputError` for a request on another model than the ledger's. Where an adapter is beneath, loading it
    would say so."""
    first = next((entry for entry in entries if entry.facts), None)
    if first is None or first.facts is None:
        return
    theirs, given = first.facts.base.fingerprint, fingerprint(load_model(recipe.model, "model.path"))
    if theirs != given:
        raise InputError(
            Problem("model.path", f"the ledger is of a model with the fingerprint {theirs}, and this one has {given}.",
                    "Name the model of the first request.")
        )  # fmt: skip
