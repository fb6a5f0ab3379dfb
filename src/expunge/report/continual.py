"""report.html of several requests: every forget set after each of them, and what stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmarks.measures import AS_REFERENCE, AS_UNSEEN, declared, in_order, label, phrase
from ..benchmarks.tofu.metrics import shift
from ..evaluation.metric import Metric
from ..folder.requests import ContinualFolder
from ..folder.state import ContinualState
from ..storage import write_text
from . import quantities
from .evidence import Evidence, Finding, Forgetting, Tone, forget_log_ratios, rule_utility
from .glossary import glossary
from .page import templates
from .tables import Cell
from .verdict import judge, limits


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
    tone: Tone
    headline: str
    findings: list[Finding]


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
    """A table for each metric of the forget sets: a row a set, a column a model, from the original to the last."""
    requests = state.requests
    compared = has_reference(state)
    columns = [*_models(len(requests)), *(["Reference"] if compared else [])]
    tables = []
    for name in _names(state, kept=False):
        rows = []
        for number, request in enumerate(requests, start=1):
            found = {number - 1: (request.metrics.before or {}).get(name)}
            for after, later in enumerate(requests[number - 1 :], start=number):
                found[after] = later.forget_sets[str(number)].get(name)
            reference = (request.metrics.reference or {}).get(name)
            metrics = [*(found.get(after) for after in range(len(requests) + 1)), reference]
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
    """What says nothing of the forget sets: a row a metric, a column a model, and last the original's share."""
    requests = state.requests
    rows = []
    for name in _names(state, kept=True):
        stages = [requests[0].metrics.before, *(request.metrics.after for request in requests)]
        found = [(metrics or {}).get(name) for metrics in stages]
        row = _row(name, label(name)[0], found)
        first, last = found[0], found[-1]
        share = last.value / first.value if first and last and first.value else None
        shown = quantities.NONE if share is None else quantities.percent(share)
        rows.append(Row(row.name, row.label, row.n, [*row.cells, Cell(share, shown)]))
    return Table("", "", "Measure", [*_models(len(requests)), "Share of the original"], rows)


def overall(folder: ContinualFolder) -> Overall:
    """The verdict on every forget set as the last request left it, and on the utility."""
    state = folder.state
    requests = state.requests
    utility, share = _utility(state)
    judged = [_judge(folder, number) for number in range(1, len(requests) + 1)]
    forgotten = sum(forgetting is Forgetting.FORGOTTEN for forgetting, _ in judged)
    findings = [finding for _, finding in judged]
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
    return Overall(worst, headline, [utility, *findings])


def _judge(folder: ContinualFolder, number: int) -> tuple[Forgetting, Finding]:
    """How much of a request's forget set is forgotten after the last request, against its own reference."""
    verdict = judge(evidence_of(folder, number))
    finding = verdict.findings[0]
    return verdict.forgetting, Finding(
        finding.tone, f"Forget set {number}: {finding.title[0].lower()}{finding.title[1:]}", finding.text
    )


def evidence_of(folder: ContinualFolder, number: int) -> Evidence:
    """What the verdict on a request's forget set is reached from, as the last request left it."""
    requests = folder.state.requests
    request, last = requests[number - 1], requests[-1]
    after = folder.request(len(requests)).log("after" if number == len(requests) else f"request-{number}")
    reference = folder.request(number).log("reference")
    direction = shift(*map(forget_log_ratios, (after, reference))) if after and reference else None
    return Evidence(
        before=request.metrics.before or {},
        after=last.forget_sets[str(number)],
        reference=request.metrics.reference or {},
        shift=direction,
        utility=last.training.utility_metric,
    )


def _utility(state: ContinualState) -> tuple[Finding, float | None]:
    original = state.utility.original
    after = [value for value in state.utility.after[: len(state.requests)] if value is not None]
    if not original or not after or len(after) < len(state.requests):
        text = "What the model should keep was not measured before and after."
        return Finding(Tone.OPEN, "Utility not measured", text), None
    shares = [value / original for value in after]
    floor = state.requests[-1].training.utility_floor
    steps = ", ".join(quantities.percent(share) for share in shares)
    before, last = state.requests[0].metrics.before or {}, state.requests[-1].metrics.after or {}
    name = rule_utility(state.requests[-1].training.utility_metric, before, last)
    what, n = (phrase(name), quantities.count(last[name].n)) if name else ("utility", quantities.NONE)
    text = (
        f"{what[0].upper()}{what[1:]} after each request, of the original model's: {steps}. The rule asks for at "
        f"least {100 * floor:g} %. N = {n}."
    )
    if shares[-1] >= floor:
        return Finding(Tone.GOOD, "Utility kept", text), shares[-1]
    return Finding(Tone.BAD, "Utility not kept", text), shares[-1]


def _names(state: ContinualState, kept: bool) -> list[str]:
    found = {name for request in state.requests for name in request.metrics.after or {}}
    # What says nothing of the forget sets is the same for every request. Of a stranger's metric that is not known.
    said = {name: measure.of_forget_set if (measure := declared(name)) else True for name in found}
    return [name for name in in_order(found) if said[name] is not kept]


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
            "hash": forget.hash[:12],
            "folder": over[number - 1].folder if number <= len(over) else None,
        }
        for number, forget in enumerate(state.data.forget, start=1)
    ]
