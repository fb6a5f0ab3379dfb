"""The command line. Heavy libraries are imported inside the commands, so that `--help` is immediate."""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from ._version import __version__
from .benchmarks.registry import benchmarks
from .errors import ExpungeError, InputError

app = typer.Typer(
    name="expunge",
    help="Make a language model forget, provably and cheaply.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeFile = Annotated[Path, typer.Argument(help="recipe (YAML), or the name of a shipped one")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.sub=value, over what the recipe says")]
#: The exit code after Ctrl-C, as shells have it: 128 + SIGINT.
INTERRUPTED = 130
#: With --strict, where the forget set is not forgotten with the utility kept.
NOT_AS_ASKED = 3
Strict = Annotated[
    bool, typer.Option("--strict", help="exit code 3 unless it is forgotten, with the utility kept")
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")]


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="show the version and exit")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit()


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option(help="run folder")] = Path("runs/quickstart"),
    strict: Strict = False,
) -> None:
    """A tiny model forgets a few invented people: no network, no GPU; ends with the report's path."""
    from .quickstart.run import run_quickstart

    finished = run_quickstart(output)
    _summary(finished, strict)


@app.command()
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option(help="run folder, in place of the recipe's")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    strict: Strict = False,
) -> None:
    """Unlearn: importance → adapter → training → evaluation → export → report; ends with the verdict.

    The exit code is 1 where nothing was forgotten.
    """
    from .run.unlearn import unlearn

    finished = unlearn(recipe, overrides or [], output=output, resume=resume)
    _summary(finished, strict)


@app.command()
def validate(recipe: RecipeFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a recipe: every error at once, or the resolved recipe, its steps, parameters and memory."""
    from .commands.validate import plan

    found = plan(recipe, overrides or [])
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(found["recipe"])
    for line in found["lines"]:
        print(line)


@app.command("eval", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="model folder or hub id: base or merged")],
    benchmark: Annotated[str, typer.Option(help=", ".join(benchmarks))] = "tofu",
    data: Annotated[
        str | None, typer.Option(help="the benchmark's files: a folder or a hub id; tdec: a file as well")
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(
            help="forget split (tofu: forget10), number of the set (tdec), tasks (lm-eval), or your own file"
        ),
    ] = None,
    retain: Annotated[str | None, typer.Option(help="retain split, or a file of your own")] = None,
    holdout: Annotated[
        str | None,
        typer.Option(help="file of your own with what the model never saw, for membership inference"),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="adapter that expunge exported")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="log of a model that never saw the forget set")
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="tdec: text that the model never saw; computes thresholds in place of the benchmark"
        ),
    ] = None,
    template: Annotated[
        str, typer.Option(help="auto, question-answer, tofu-phi, tofu-llama2 or chat")
    ] = "auto",
    max_length: Annotated[
        int | None, typer.Option(min=2, help="longest sequence in tokens; 512, or the model's window")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="memorization: what your files call the columns: question=NAME,answer=NAME, text=NAME"
        ),
    ] = None,
    truth_ratio: Annotated[
        str | None, typer.Option(help="tofu: geometric (the default) or arithmetic mean over wrong answers")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="longest generated answer")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="at most this many of each set")] = None,
    output: Annotated[
        Path | None, typer.Option(help="where the per-question log, or the thresholds, are written")
    ] = None,
    output_format: Annotated[
        str, typer.Option("--format", help="format of the log: expunge, or for tofu open-unlearning")
    ] = "expunge",
    as_json: AsJson = False,
) -> None:
    """Measure a base, adapted or merged model on a benchmark. A benchmark of another package brings its own options."""
    from .commands.evaluate import EvaluationRequest, evaluate_model, facts, read_extra

    given = {
        "data": data, "forget": forget, "retain": retain, "holdout": holdout, "truth_ratio": truth_ratio,
        "max_new_tokens": max_new_tokens, "columns": columns, "samples": samples, "format": output_format,
    }  # fmt: skip
    model, extra = read_extra([model, *context.args])
    options = {name: value for name, value in given.items() if value is not None} | extra
    request = EvaluationRequest(
        model, benchmark, options, adapter, reference, template, max_length, calibrate, output
    )
    log = evaluate_model(request)
    if not _first_process():
        return
    found = facts(log)
    if not as_json:
        print(f"{found['benchmark']}, metrics version {found['metric_version']}")
        applied = found["model"].get("adapter")
        beside = f" with adapter {applied}" if applied else ""
        print(f"model {found['model']['fingerprint']}{beside}, data {found['data'].get('hash')}")
    _metrics(log.metrics, as_json, found)


score = typer.Typer(help="Compute metrics from per-question logs, without a model.", no_args_is_help=True)
app.add_typer(score, name="score")


@score.command("tofu")
def score_tofu(
    log: Annotated[
        Path, typer.Argument(help="per-question log: expunge's, the TOFU authors' or open-unlearning's")
    ],
    reference: Annotated[
        Path | None, typer.Option(help="log of the model that never saw the forget set")
    ] = None,
    truth_ratio: Annotated[
        str, typer.Option(help="geometric or arithmetic mean over wrong answers")
    ] = "geometric",
    rows: Annotated[bool, typer.Option("--rows", help="add every row's ROUGE to the JSON output")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget Quality and Model Utility of TOFU."""
    from .commands.score import rouge_by_row
    from .commands.score import score_tofu as compute

    metrics = compute(log, reference, truth_ratio)
    _metrics(metrics, as_json, {"rouge": rouge_by_row(log)} if rows else {})


@app.command()
def importance(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Measure the importance that a recipe asks for, once; runs with the same model, data and settings reuse it."""
    from .commands.importance import measure_and_store

    print(measure_and_store(recipe, overrides or []))


@app.command()
def finetune(
    recipe: RecipeFile,
    on: Annotated[
        str, typer.Option(help="full: forget and retain set; retain: a model that never saw the forget set")
    ],
    output: Annotated[Path, typer.Option(help="folder for the model")],
    overrides: Overrides = None,
    lora: Annotated[
        bool, typer.Option("--lora", help="train and merge a LoRA adapter, not all weights")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted finetuning")] = False,
) -> None:
    """Make a benchmark's models: one that knows everything, and the reference; prints the recipe's line for it."""
    from .commands.finetune import finetune_recipe

    finetuned = finetune_recipe(recipe, overrides or [], on=on, output=output, lora=lora, resume=resume)
    if _first_process():
        print(finetuned.recipe_line)


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    output: Annotated[Path, typer.Option(help="folder to write")],
    to: Annotated[str, typer.Option(help="adapter, merged or assistant")] = "adapter",
) -> None:
    """Write a run's result: the adapter for the untouched base, or the model with the change merged in."""
    from .commands.export import export_run

    print(export_run(run_folder, to, output))


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")],
    show_text: Annotated[
        bool,
        typer.Option(
            "--show-text", help="with the forgotten answers: they are to be deleted, so keep it safe"
        ),
    ] = False,
) -> None:
    """Write a run's report again, from the files in its folder."""
    from .commands.report import report_run

    print(report_run(run_folder, show_text))


@app.command()
def methods(as_json: AsJson = False) -> None:
    """What there is: methods, losses, importance estimators and initialisations, with formula and paper."""
    from .commands.methods import catalogue

    found = catalogue()
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    width = max(len(entry["name"]) for entries in found.values() for entry in entries)
    for kind, entries in found.items():
        print(f"{kind}")
        for entry in entries:
            print(f"  {entry['name']:<{width}} {entry['formula']}")
            settings = ", ".join(
                f"{key} = {value:g}" for key, value in entry.get("hyperparameters", {}).items()
            )
            needs = entry.get("needs") and f"needs: {', '.join(entry['needs'])}"
            details = [entry["paper"], settings, entry.get("published"), needs, entry.get("storage")]
            print(f"  {'':<{width}} {'; '.join(detail for detail in details if detail)}")
        print()


recipes = typer.Typer(help="The papers' experiments at full size, as recipes.", no_args_is_help=True)
app.add_typer(recipes, name="recipes")


@recipes.command("ls")
def list_recipes(as_json: AsJson = False) -> None:
    """Every shipped recipe, with its paper, benchmark and model."""
    from .recipe.shipped import shipped_recipes

    found = [recipe.facts for recipe in shipped_recipes().values()]
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for recipe in found:
        print(f"{recipe['name']:<28} {recipe['paper']:<16} {recipe['benchmark']:<6} {recipe['model']}")
        print(f"{'':<28} {recipe['description']}")


@recipes.command("show")
def show_recipe(name: Annotated[str, typer.Argument(help="name that `recipes ls` shows")]) -> None:
    """Print a shipped recipe."""
    from .recipe.shipped import shipped_recipe

    print(shipped_recipe(name).text, end="")


@recipes.command("cp")
def copy_shipped_recipe(
    name: Annotated[str, typer.Argument(help="name that `recipes ls` shows")],
    path: Annotated[Path, typer.Argument(help="file to write, or a folder")],
) -> None:
    """Copy a shipped recipe to change it."""
    from .recipe.shipped import copy_recipe

    print(copy_recipe(name, path))


def _metrics(metrics: dict[str, Any], as_json: bool, more: dict[str, Any] | None = None) -> None:
    if as_json:
        # JSON has no word for the figure of a diverged model that is no number.
        content = {
            name: {
                key: value if value is None or math.isfinite(value) else None
                for key, value in metric.to_json().items()
            }
            for name, metric in metrics.items()
        }
        print(json.dumps({"metrics": content, **(more or {})}, indent=2, allow_nan=False))
        return
    width = max(map(len, metrics), default=0)
    for name, metric in metrics.items():
        interval = "" if metric.low is None else f"  [{metric.low:.4f}, {metric.high:.4f}]"
        print(f"{name:<{width}} {metric.value:<14.6g} N = {metric.n}{interval}")


def _summary(run: Any, strict: bool) -> None:
    """Before, after, reference and the verdict on stderr, the report's path on stdout; of several processes the first
    speaks. Raises `typer.Exit` where the run's result is not what was asked for."""
    verdict = run.verdict
    if _first_process():
        _figures(run.metrics)
        print(f"Verdict: {verdict.line}", file=sys.stderr)
        print(run.report)
    if strict and not verdict.satisfied:
        raise typer.Exit(NOT_AS_ASKED)
    if run.forgot_nothing:
        raise typer.Exit(1)


def _figures(metrics: dict[str, Any]) -> None:
    """A line a metric, as every stage has it."""
    sides = {name: values for name, values in metrics.items() if values}
    names = [name for name in sides["before"] if name in sides.get("after", sides["before"])]
    print(f"{'':<32}" + "".join(f"{side:>14}" for side in sides), file=sys.stderr)
    for name in names:
        cells = [
            f"{sides[side][name]['value']:>14.4g}" if name in sides[side] else f"{'':>14}" for side in sides
        ]
        print(f"{name:<32}" + "".join(cells), file=sys.stderr)


def _first_process() -> bool:
    """Of several, one speaks."""
    from .progress import first_process

    return first_process()


def main() -> None:
    """Entry point: 0 done, 1 failed while running or forgot nothing, 2 the user's input is wrong, 3 by --strict not
    forgotten with the utility kept, 130 interrupted."""
    # PEFT asks transformers for an attribute under its old name on every call; users can do nothing about it.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    try:
        # Typer returns the code of an exit, and of Ctrl-C, in place of raising it; commands return None.
        code = app(standalone_mode=False)
    except typer.Abort:
        code = INTERRUPTED
    except InputError as error:
        for problem in error.problems:
            print(f"Error: {problem}", file=sys.stderr)
        sys.exit(2)
    except ExpungeError as error:
        print(f"Failed: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if _is_usage_error(error):
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        raise
    if code == INTERRUPTED:
        print("Interrupted. A run goes on where it was by the same command with --resume.", file=sys.stderr)
    if code:
        sys.exit(code)


def _is_usage_error(error: Exception) -> bool:
    """Whether the command line itself was wrong: click's exceptions show themselves."""
    return hasattr(error, "show") and hasattr(error, "exit_code")
