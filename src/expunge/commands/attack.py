"""`expunge attack`: does what was forgotten come back?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..attacks.registry import attacks
from ..errors import InputError, Problem
from ..trust import trusting
from .parameters import AsJson, TrustRemoteCode
from .printing import first_process

if TYPE_CHECKING:
    from ..folder.state import AttackFacts


def attack(
    target: Annotated[
        str | None, typer.Argument(metavar="RUN", help="folder of a finished run; or a model, with --data")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…]", help=f"some of {', '.join(attacks)}; all by default"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="model that never saw the forget set; of a run, in place of the recipe's"),
    ] = None,
    budget: Annotated[
        Literal["cheap", "full"],
        typer.Option(help="cheap: within minutes, on at most 100 questions; or full"),
    ] = "cheap",
    leak_threshold: Annotated[
        float,
        typer.Option(
            help="sample: the share of the answer's words, in their order, that a text needs to leak a row that "
            "names no keywords"
        ),
    ] = 0.8,
    data: Annotated[str | None, typer.Option(help="without a run: file of what was to be forgotten")] = None,
    retain: Annotated[str | None, typer.Option(help="without a run: file of what was to stay")] = None,
    holdout: Annotated[str | None, typer.Option(help="without a run: file of what no model saw")] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="without a run: the adapter that forgets; the model is its base")
    ] = None,
    original: Annotated[
        str | None, typer.Option(help="without a run or an adapter: the model from before unlearning")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="without a run: how a question and its answer are written, as data.template"),
    ] = None,
    aims: Annotated[
        Literal["probabilities", "answers"] | None,
        typer.Option(
            help="without a run: what was to change, the answers that are written (as by idk, dpo and altpo) or the "
            "probabilities of the true ones, which is the default"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="without a run: folder for what is measured; runs/attacks")
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="show the attacks with their costs, and exit")
    ] = False,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Try to bring back what a model has forgotten: the share that comes back, by attack."""
    # Here for the start-up time.
    from ..attacks.leaks import Leak
    from ..run.attacked import ModelUnderAttack, attack_model, attack_run, catalogue

    if list_all:
        _print_list(catalogue(), as_json)
        return
    if target is None:
        raise InputError(
            Problem("RUN", "there is nothing to attack.", "Name the folder of a run, or a model.")
        )
    if not 0 < leak_threshold <= 1:
        raise InputError(
            Problem("--leak-threshold", "it is no share of an answer.", "Give one above 0 and at most 1.")
        )
    leak = Leak(leak_threshold)
    own = {"--data": data, "--retain": retain, "--holdout": holdout, "--adapter": adapter,
           "--original": original, "--output": output, "--template": template, "--aims": aims}  # fmt: skip
    if data is None:
        given = [option for option, value in own.items() if value is not None]
        if given:
            raise InputError(
                [
                    Problem(option, "it is for a model without a run.", "Leave it out, or add --data.")
                    for option in given
                ]
            )
        with trusting(trust_remote_code):
            facts = attack_run(Path(target), names, budget, reference, leak)
    else:
        asked = ModelUnderAttack(
            target, data, output or Path("runs/attacks"), adapter, original, retain, holdout, reference, leak,
            template or "auto", aims or "probabilities",
        )  # fmt: skip
        with trusting(trust_remote_code):
            facts = attack_model(asked, names, budget)
    if first_process():
        _print(facts, Path(target) if data is None else None, as_json)


def _print_list(entries: list[dict[str, object]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    width = max(len(str(entry["name"])) for entry in entries)
    for entry in entries:
        print(f"{entry['name']:<{width}}  {entry['budget']:<5}  {entry['title']}")
        print(f"{'':<{width}}         {entry['cost']}")


def _print(facts: AttackFacts, run: Path | None, as_json: bool) -> None:
    """A line an attack, the worst first, and the verdict of the run."""
    from ..report.attacks import lines  # here for the start-up time
    from ..run.result import Run

    verdict = Run(run).verdict if run else None
    if as_json:
        content = facts.model_dump(mode="json") | ({"verdict": verdict.to_json()} if verdict else {})
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    for line in lines(facts):
        print(line)
    if verdict:
        print(f"Verdict: {verdict.line}")
