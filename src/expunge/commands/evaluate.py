"""`expunge eval`: any model on a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..benchmarks.registry import benchmarks
from ..errors import InputError, Problem
from ..trust import trusting
from .completion import benchmark_names
from .parameters import AsJson, TrustRemoteCode
from .printing import first_process, print_metrics

#: How typer hands on the options of a benchmark that another package brings.
ANY_OPTION = {"allow_extra_args": True, "ignore_unknown_options": True}


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="model folder or hub id: base or merged")],
    benchmark: Annotated[
        str, typer.Option(help=", ".join(benchmarks), autocompletion=benchmark_names)
    ] = "tofu",
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
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Measure a base, adapted or merged model on a benchmark. A benchmark of another package brings its own options."""
    from ..benchmarks.evaluate import EvaluationRequest, evaluate_model, facts  # here for the start-up time

    given = {
        "data": data, "forget": forget, "retain": retain, "holdout": holdout, "truth_ratio": truth_ratio,
        "max_new_tokens": max_new_tokens, "columns": columns, "samples": samples, "format": output_format,
    }  # fmt: skip
    model, extra = read_extra([model, *context.args])
    options = {name: value for name, value in given.items() if value is not None} | extra
    request = EvaluationRequest(
        model, benchmark, options, adapter, reference, template, max_length, calibrate, output
    )
    with trusting(trust_remote_code):
        log = evaluate_model(request)
    if not first_process():
        return
    quoted = facts(log)
    if not as_json:
        print(f"{quoted['benchmark']}, metrics version {quoted['metric_version']}")
        applied = quoted["model"].get("adapter")
        beside = f" with adapter {applied}" if applied else ""
        print(f"model {quoted['model']['fingerprint']}{beside}, data {quoted['data'].get('hash')}")
    print_metrics(log.metrics, as_json, quoted)


def read_extra(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    """MODEL and the options that the command line does not know itself: a benchmark's, `--its-option VALUE`.

    Raises `InputError` for an option without a value, and where there is not one MODEL.
    """
    models: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if not word.startswith("--"):
            models.append(word)
            continue
        option, equals, value = word.partition("=")
        given = value if equals else next(left, None)
        if given is None:
            raise InputError(Problem(option, "it needs a value.", f"Write {option} VALUE."))
        options[option.removeprefix("--").replace("-", "_")] = given
    if len(models) != 1:
        said = f"{', '.join(map(repr, models))} are {len(models)}" if models else "there is none"
        raise InputError(Problem("MODEL", f"{said}.", "Name one model."))
    return models[0], options
