"""`expunge sweep`: many runs of a recipe, and the best of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..trust import trusting
from .parameters import AsJson, Overrides, RecipeFile, Strict, TrustRemoteCode
from .printing import NOT_AS_ASKED

if TYPE_CHECKING:
    from ..folder.sweep import SweepState


def sweep(
    recipe: RecipeFile,
    space: Annotated[Path, typer.Option(help="YAML: key → list of values, or {low, high, log|step, int}")],
    trials: Annotated[int, typer.Option(help="how many trials there are to be, over all workers")],
    overrides: Overrides = None,
    sampler: Annotated[str, typer.Option(help="random: the papers' protocol; or tpe")] = "random",
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="leave a trial that is under the median at an epoch")
    ] = True,
    storage: Annotated[
        str | None,
        typer.Option(help="database of the trials, as sqlite:///FILE; a file in the folder without"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="folder; without, the recipe's with -sweep")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with an interrupted sweep, or join its other workers")
    ] = False,
    trust_remote_code: TrustRemoteCode = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Search settings: a run a trial, the best that keeps 95 % of the utility, and the front of all."""
    from ..sweep.search import sweep as search  # here for the start-up time

    with trusting(trust_remote_code):
        folder = search(
            recipe,
            space,
            overrides or [],
            trials=trials,
            output=output,
            sampler=sampler,
            prune=prune,
            storage=storage,
            resume=resume,
        )
    state = folder.state
    _print_trials(state)
    print(json.dumps(folder.document, indent=2) if as_json else folder.report_file)
    verdict = state.verdict
    if strict and not (verdict and verdict.forgetting == "forgotten" and verdict.utility_kept):
        raise typer.Exit(NOT_AS_ASKED)


def _print_trials(state: SweepState) -> None:
    """A line a trial and the verdict, on stderr."""
    from ..report.quantities import number  # here for the start-up time
    from ..report.sweep import end, shown, verdict_line

    heads = ["trial", "choosing", "others", "all", "utility", "share", "epoch"]
    print("".join(f"{head:>10}" for head in heads) + "  end", file=sys.stderr)
    for trial in state.begun:
        result = trial.result
        figures = (
            [result.choosing, result.reporting, result.score, result.utility, result.share]
            if result
            else [None] * 5
        )
        epoch = str(result.epoch) if result and result.epoch else ""
        cells = [str(trial.number), *map(number, figures), epoch]
        values = ", ".join(f"{key} {shown(value)}" for key, value in trial.values.items())
        marks = "  chosen" if trial.number == state.chosen else ""
        print("".join(f"{cell:>10}" for cell in cells) + f"  {end(trial)}: {values}{marks}", file=sys.stderr)
    over = sum(trial.result is not None for trial in state.begun)
    if over < state.trials:
        print(f"{over} of {state.trials} trials have ended: other workers are at the rest.", file=sys.stderr)
    print(f"Verdict: {verdict_line(state)}", file=sys.stderr)
