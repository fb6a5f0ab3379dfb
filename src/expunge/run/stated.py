"""What a finished run says of itself, in the words of a statement: for an attestation or a ledger's entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..benchmarks.measures import AS_REFERENCE, AS_UNSEEN, declared, label
from ..data.samples import Sample
from ..errors import InputError, Problem
from ..evaluation.metric import Metric
from ..evidence.merkle import merkle_root
from ..evidence.statement import (
    BEYOND,
    CATEGORIES,
    Attack,
    Base,
    Executed,
    Facts,
    Figure,
    ForgetSet,
    Judgement,
    Measured,
)
from ..folder.requests import ContinualFolder
from ..folder.run import STAGES, RunFolder
from ..folder.state import Judgement as RecordedVerdict
from ..report.tables import method
from ..report.verdict import Verdict
from ..storage import file_checksum

#: Attacks of a run → the category of the European Data Protection Board's that they belong to.
ATTACKS = {
    "membership": "membership inference",
    **dict.fromkeys(
        ("sample", "rephrase", "prefix", "prefill", "few_shot", "in_context", "role_play", "cloze",
         "multiple_choice", "translate_frame", "leaks"),
        "regurgitation",
    ),
}  # fmt: skip


def facts_of(folder: RunFolder, samples: int, root: str, after: Mapping[str, Metric] | None = None) -> Facts:
    """What a finished run says of itself, for an entry or a statement.

    root:  of its forget set's Merkle tree
    after: the figures of the model that it leaves; by default those that the run has of it
    """
    state = folder.state
    metrics = {stage: folder.metrics(stage) for stage in STAGES}
    metrics["after"] = folder.metrics(folder.last_stage) if after is None else after
    names = {name: None for stage in STAGES for name in metrics[stage]}
    return Facts(
        forget_set=ForgetSet(samples=samples, merkle_root=root),
        base=Base(name=state.model.path, revision=state.model.revision, fingerprint=state.model.fingerprint),
        recipe=file_checksum(folder.recipe_file),
        method=method(folder),
        versions=state.versions,
        seed=folder.recipe.seed,
        figures={name: figure(name, *(metrics[stage].get(name) for stage in STAGES)) for name in names},
        verdict=judgement(state.verdict) if state.verdict else None,
        attacks=_attacks(folder, names),
    )


def judgement(verdict: Verdict | RecordedVerdict) -> Judgement:
    """A verdict as a statement has it: without what to try next."""
    content = verdict.to_json() if isinstance(verdict, Verdict) else verdict.model_dump()
    return Judgement(**{key: value for key, value in content.items() if key != "next"})


def figure(
    name: str,
    before: Metric | Measured | None,
    after: Metric | Measured | None,
    reference: Metric | Measured | None = None,
) -> Figure:
    """A metric as a statement has it, with the words for it."""
    called, better = label(name)
    if better == AS_REFERENCE and reference is None:
        better = AS_UNSEEN
    return Figure(
        label=called, better=better, before=measured(before), after=measured(after),
        reference=measured(reference),
    )  # fmt: skip


def measured(metric: Metric | Measured | None) -> Measured | None:
    if metric is None or isinstance(metric, Measured):
        return metric
    return Measured(**metric.to_json())


def facts_of_several(folder: ContinualFolder, salt: str) -> tuple[Facts, dict[str, dict[str, Figure]]]:
    """What a finished run of several requests says of itself, and of each forget set, by the request's number.

    The forget set is that of all in their order, the base what the first one started from; the attacks are those that
    each made on the model that it left. The other figures are of what is no request's own.
    """
    state = folder.state
    runs = [folder.request(number) for number in range(1, len(state.requests) + 1)]
    asked = [forget_samples(run) for run in runs]
    samples = [sample for own in asked for sample in own]
    each = [facts_of(run, len(own), merkle_root(own, salt)) for run, own in zip(runs, asked, strict=True)]
    first, last = each[0], each[-1]
    forget_sets = {
        str(number): {
            name: figure(name, facts.figures[name].before, after, facts.figures[name].reference)
            for name, after in state.requests[-1].forget_sets[str(number)].items()
            if _of_forget_set(name) and name in facts.figures
        }
        for number, facts in enumerate(each, start=1)
    }
    whole = last.model_copy(
        update={
            "forget_set": ForgetSet(samples=len(samples), merkle_root=merkle_root(samples, salt)),
            "base": first.base,
            "recipe": file_checksum(folder.recipe_file),
            "figures": {
                name: figure(name, found.before, last.figures[name].after, last.figures[name].reference)
                for name, found in first.figures.items()
                if not _of_forget_set(name) and name in last.figures
            },
            "verdict": judgement(state.verdict) if state.verdict else None,
            "attacks": [
                Attack(
                    category=category,
                    by=[
                        executed.model_copy(update={"name": f"request {number}: {executed.name}"})
                        for number, facts in enumerate(each, start=1)
                        for attack in facts.attacks
                        if attack.category == category
                        for executed in attack.by
                    ],
                )
                for category in dict.fromkeys(attack.category for facts in each for attack in facts.attacks)
            ],
        }
    )
    return whole, forget_sets


def _of_forget_set(name: str) -> bool:
    measure = declared(name)
    return measure is not None and measure.of_forget_set


def _attacks(folder: RunFolder, metrics: Mapping[str, None]) -> list[Attack]:
    """Every category of the EDPB's, executed or not, then the other attacks that the run has.

    Membership inference is measured by some benchmarks themselves.
    """
    executed: dict[str, list[Executed]] = {category: [] for category in CATEGORIES}
    for name in metrics:
        measure = declared(name)
        if measure is not None and measure.role == "privacy":
            executed["membership inference"].append(Executed(name=name))
    for name, outcome in ((folder.document.get("attacks") or {}).get("outcomes") or {}).items():
        if outcome.get("unfit") is None:
            one = Executed(name=name, came_back=_came_back(outcome))
            executed.setdefault(ATTACKS.get(name, BEYOND), []).append(one)
    return [Attack(category=category, by=by) for category, by in executed.items()]


def _came_back(outcome: Mapping[str, Any]) -> Measured | None:
    """The largest share that a variant of an attack brought back, by the measure that it leads with."""
    leading = [each["recoveries"][each["lead"]] for each in outcome["variants"].values()]
    shares = [
        Measured(value=each["share"], n=each["n"], low=each.get("low"), high=each.get("high"))
        for each in leading
        if each.get("share") is not None
    ]
    return max(shares, key=lambda share: share.value, default=None)


def forget_samples(folder: RunFolder) -> Sequence[Sample]:
    """The forget set of a run, read again. Raises `InputError` where it cannot be read, or is another by now."""
    data = folder.recipe.data
    source = data.sources()["forget"]
    assert source is not None
    forget, _ = data.read("forget", source)
    if forget.describe()["hash"] != folder.state.data.forget.hash:
        raise InputError(
            Problem(source, "this is not the forget set that the run was given: it has changed since.",
                    "Restore the file. A ledger computes the Merkle root when the request is added.")
        )  # fmt: skip
    return forget.samples
