"""report.html of several requests: every forget set after each of them, and what stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmarks.measures import AS_REFERENCE, AS_UNSEEN, declared, in_order, label, phrase
from ..benchmarks.tofu.metrics import forget_log_ratios, shift
from ..evaluation.metric import Metric
from ..folder.continual_state import ContinualState
from ..folder.requests import ContinualFolder
from ..storage import write_text
from ..training.selection import UTILITY_SHARE
from . import quantities
from .advice import AGAINST, MORE_TO_KEEP
from .evidence import (
    LEAST_FOR_UTILITY,
    Evidence,
    Finding,
    Forgetting,
    Tone,
    judged_utility,
    lower,
    rule_utility,
    upper,
)
from .glossary import glossary
from .page import templates
from .tables import Cell
from .verdict import in_one_line, judge, limits


@dataclass(frozen=True)
class Row:
    name: str
    label: str
    n: str
    cells: list[Cell]


@dataclass(frozen=True)
class Table:
    """what: heading of the first column; columns: those of the cells."""

    label: str
    better: str
    what: str
    columns: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Overall:
    """The verdict on several requests. forgetting: of every forget set, as the last request left it; against, next: see
    `Verdict`"""

    tone: Tone
    headline: str
    forgetting: list[Forgetting]
    utility_kept: bool | None
    findings: list[Finding]
    against: list[str]
    next: list[str]

    @property
    def satisfied(self) -> bool:
        """Whether every forget set is forgotten and the utility kept."""
        return self.utility_kept is True and all(
            outcome is Forgetting.FORGOTTEN for outcome in self.forgetting
        )

    @property
    def line(self) -> str:
        return in_one_line(self.headline, self.against, self.next)

    @property
    def objection(self) -> str:
        """As `Verdict.objection`."""
        return in_one_line(self.headline, self.against)

    def to_json(self) -> dict[str, Any]:
        """As `continual.json` has it."""
        return {
            "forgetting": [outcome.word for outcome in self.forgetting],
            "utility_kept": self.utility_kept,
            "headline": self.headline,
            "against": self.against,
            "next": self.next,
        }


def write_continual_report(folder: Path) -> Path:
    """Write `report.html` from `continual.json` and the logs of the requests that are over, and return its path.

    The same files give the same bytes. No text of the data sets is in it.
    """
    several = ContinualFolder(folder)
    state = several.state
    forget, kept = forget_tables(state), kept_table(state)
    text = (
        templates()
        .get_template("continual.html.j2")
        .render(
            run={
                "name": state.name,
                "command": " ".join(state.command),
                "versions": state.versions,
                "recipe": several.recipe_text,
            },
            planned=len(state.data.forget),
            verdict=overall(several),
            limits=limits(evidence_of(several, 1)) if state.requests else [],
            rows=_request_rows(state),
            has_reference=has_reference(state),
            forget=forget,
            kept=kept,
            glossary=glossary([*(table.rows[0].name for table in forget), *(row.name for row in kept.rows)]),
            adapter=state.adapter,
        )
    )
    write_text(several.report_file, text)
    return several.report_file


def forget_tables(state: ContinualState) -> list[Table]:
    """A table for every metric of the forget sets: a row a set, a column a model, from the original to the last."""
    requests = state.requests
    compared = has_reference(state)
    columns = [*_models(len(requests)), *(["Reference"] if compared else [])]
    tables = []
    for name in _names(state, kept=False):
        rows = []
        for number, request in enumerate(requests, start=1):
            by_model = {number - 1: (request.metrics.before or {}).get(name)}
            for after, later in enumerate(requests[number - 1 :], start=number):
                by_model[after] = later.forget_sets[str(number)].get(name)
            reference = (request.metrics.reference or {}).get(name)
            metrics = [*(by_model.get(after) for after in range(len(requests) + 1)), reference]
            rows.append(_row(name, f"Forget set {number}", metrics[: len(columns)]))
        title, better = label(name)
        if better == AS_REFERENCE and not compared:
            better = AS_UNSEEN
        tables.append(Table(title, better, "Forget set", columns, rows))
    return tables


def has_reference(state: ContinualState) -> bool:
    """Whether any forget set is compared with a model that never saw it."""
    return any(request.metrics.reference for request in state.requests)


def kept_table(state: ContinualState) -> Table:
    """The metrics that say nothing of the forget sets: a row a metric, a column a model, last the original's share."""
    requests = state.requests
    rows = []
    for name in _names(state, kept=True):
        stages = [requests[0].metrics.before, *(request.metrics.after for request in requests)]
        metrics = [(stage or {}).get(name) for stage in stages]
        row = _row(name, label(name)[0], metrics)
        first, last = metrics[0], metrics[-1]
        share = last.value / first.value if first and last and first.value else None
        shown = quantities.NONE if share is None else quantities.percent(share)
        rows.append(Row(row.name, row.label, row.n, [*row.cells, Cell(share, shown)]))
    return Table("", "", "Measure", [*_models(len(requests)), "Share of the original"], rows)


def overall(folder: ContinualFolder) -> Overall:
    """The verdict on every forget set as the last request left it, and on the utility."""
    state = folder.state
    requests = state.requests
    utility, share = _utility(state)
    judged = [judge(evidence_of(folder, number)) for number in range(1, len(requests) + 1)]
    forgetting = [verdict.forgetting for verdict in judged]
    forgotten = sum(outcome is Forgetting.FORGOTTEN for outcome in forgetting)
    findings = [_of_set(verdict.findings[0], number) for number, verdict in enumerate(judged, start=1)]
    headline = (
        f"After {_requests(len(requests))} of {len(state.data.forget)}: {forgotten} of {len(judged)} forget sets "
        "forgotten by the test, "
        + ("utility not measured." if share is None else f"{quantities.percent(share)} of the utility left.")
    )
    tones = [finding.tone for finding in (*findings, utility)]
    worst = next((tone for tone in (Tone.BAD, Tone.CAUTION, Tone.OPEN) if tone in tones), Tone.GOOD)
    if state.state == "failed":
        findings.append(Finding(Tone.BAD, "The run failed", state.error or "It does not say why."))
        worst = Tone.BAD
    against = [
        f"{AGAINST[outcome]} ({number})"
        for number, outcome in enumerate(forgetting, start=1)
        if outcome in AGAINST
    ]
    kept = {Tone.GOOD: True, Tone.BAD: False}.get(utility.tone)
    if kept is not True:
        against.append(f"{utility.title[0].lower()}{utility.title[1:]}")
    tips = list(dict.fromkeys(tip for verdict in judged for tip in verdict.next))
    return Overall(worst, headline, forgetting, kept, [utility, *findings], against, tips)


def _of_set(finding: Finding, number: int) -> Finding:
    title = f"Forget set {number}: {finding.title[0].lower()}{finding.title[1:]}"
    return Finding(finding.tone, title, finding.text)


def evidence_of(folder: ContinualFolder, number: int) -> Evidence:
    """The evidence for the verdict on a request's forget set, as the last request left it."""
    requests = folder.state.requests
    request, last = requests[number - 1], requests[-1]
    left = folder.request(len(requests))
    after = left.log(left.last_stage if number == len(requests) else f"request-{number}")
    own = request.training
    reference = folder.request(number).log("reference")
    direction = shift(*map(forget_log_ratios, (after, reference))) if after and reference else None
    return Evidence(
        before=request.metrics.before or {},
        after=last.forget_sets[str(number)],
        reference=request.metrics.reference or {},
        shift=direction,
        utility=last.training.utility_metric if last.training else None,
        aims=own.aims if own else "probabilities",
        ended=request.ended,
        attacks=folder.request(number).state.attacks,  # as that request left the model
        futile=own.futile if own else None,
    )


def _utility(state: ContinualState) -> tuple[Finding, float | None]:
    original = state.utility.original
    after = [value for value in state.utility.after[: len(state.requests)] if value is not None]
    if not original or not after or len(after) < len(state.requests):
        text = "What the model should keep was not measured before and after."
        return Finding(Tone.OPEN, "Utility not measured", text), None
    training = next((request.training for request in reversed(state.requests) if request.training), None)
    floor = training.utility_floor if training else UTILITY_SHARE
    left = [request.metrics.after or {} for request in state.requests]
    before, last = state.requests[0].metrics.before or {}, left[-1]
    recorded = training.utility_metric if training else None
    name = judged_utility(recorded, floor, before, last)
    if name is not None and name != rule_utility(recorded, before, last):
        original, after = before[name].value, [metrics[name].value for metrics in left if name in metrics]
    shares = [value / original for value in after]
    steps = ", ".join(quantities.percent(share) for share in shares)
    what, n = (phrase(name), quantities.count(last[name].n)) if name else ("utility", quantities.NONE)
    text = (
        f"{what[0].upper()}{what[1:]} after each request, of the original model's: {steps}. The rule asks for at "
        f"least {100 * floor:g} %. N = {n}."
    )
    if name and last[name].n < LEAST_FOR_UTILITY and not upper(last[name]) < floor * lower(before[name]):
        text += f" That is too few to say whether it is kept: {MORE_TO_KEEP}."
        return Finding(Tone.OPEN, "Utility cannot be said", text), shares[-1]
    if shares[-1] >= floor:
        return Finding(Tone.GOOD, "Utility kept", text), shares[-1]
    return Finding(Tone.BAD, "Utility not kept", text), shares[-1]


def _names(state: ContinualState, kept: bool) -> list[str]:
    names = {name for request in state.requests for name in request.metrics.after or {}}
    # A metric that says nothing of the forget sets is the same for every request. Of a stranger's metric nobody knows.
    said = {name: measure.of_forget_set if (measure := declared(name)) else True for name in names}
    return [name for name in in_order(names) if said[name] is not kept]


def _models(requests: int) -> list[str]:
    return ["Original", *(f"After {number}" for number in range(1, requests + 1))]


def _row(name: str, text: str, metrics: list[Metric | None]) -> Row:
    counts = sorted({metric.n for metric in metrics if metric})
    cells = [
        Cell(metric.value, quantities.number(metric.value), quantities.interval(metric.low, metric.high))
        if metric
        else Cell(None, quantities.NONE)
        for metric in metrics
    ]
    return Row(name, text, " / ".join(quantities.count(count) for count in counts), cells)


def _requests(number: int) -> str:
    return f"{number} request{'s' * (number != 1)}"


def _request_rows(state: ContinualState) -> list[dict[str, Any]]:
    over = state.requests
    return [
        {
            "number": number,
            "source": forget.source,
            "n": forget.n,
            "folder": f"requests/{number}"
            if number <= len(over)
            else None,  # not a place that the record names
        }
        for number, forget in enumerate(state.data.forget, start=1)
    ]
