"""`expunge eval`: any model on a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..adapters.assistant import ASSISTANT_FILE, load_assisted
from ..adapters.export import load_adapter
from ..adapters.loading import load_model
from ..benchmarks.comparable import check_reference, measured_by
from ..benchmarks.registry import BENCHMARKS, BenchmarkSource, open_benchmark, open_held_out
from ..benchmarks.tofu.open_unlearning import to_open_unlearning
from ..data.encoding import Encoder, say_what_is_cut
from ..data.templates import TEMPLATES, choose_template
from ..errors import InputError, Problem, RunFailed, nearest
from ..evaluation.log import EvaluationLog
from ..intact import check_writable
from ..models.fingerprint import fingerprint
from ..models.loading import load_config, load_tokenizer
from ..models.processes import processes
from ..models.settings import Model
from ..models.window import vocabulary_of, window_of
from ..storage import hash_files, write_json

FORMATS = ("expunge", "open-unlearning")
#: Option → the benchmarks that it means something to.
USED_BY: dict[str, tuple[str, ...]] = {
    "--data": tuple(name for name in BENCHMARKS if name != "memorization"),
    "--forget": ("tofu", "tdec", "memorization", "lm-eval"),
    "--retain": ("tdec", "memorization"),
    "--holdout": ("memorization",),
    "--reference": ("tofu", "muse", "memorization"),
    "--truth-ratio": ("tofu",),
    "--max-new-tokens": ("tofu", "muse", "memorization", "dialogue"),  # muse says what is generated
    "--columns": ("memorization",),
    "--format": ("tofu",),
}
#: The columns of a user's own file; `data.{name}_column` in a recipe.
COLUMNS = ("question", "answer", "messages", "text")
THRESHOLDS_SCHEMA = "expunge.thresholds/1"


@dataclass(frozen=True)
class EvaluationRequest:
    """What `expunge eval` was asked for.

    model:     folder or hub id of a base or a merged model
    source:    what the benchmark is made of
    adapter:   folder of an adapter for that base, or of an assistant (method uld)
    reference: log of a model that never saw the forget set
    template:  how a question and its answer are written
    max_length: longest sequence in tokens; None for 512, or the model's window where it is shorter
    calibrate: text that the model never saw, to compute thresholds on in place of evaluating the benchmark
    output:    file for the per-question log, in `output_format`, or for the thresholds
    """

    model: str
    benchmark: str
    source: BenchmarkSource
    adapter: Path | None = None
    reference: Path | None = None
    template: str = "auto"
    max_length: int | None = None
    calibrate: str | None = None
    output: Path | None = None
    output_format: str = "expunge"


def evaluate_model(request: EvaluationRequest) -> EvaluationLog:
    """Measure a base, adapted or merged model; the log names metric version, data hash and model fingerprint.

    Of thresholds, the log's metrics are those that the benchmark calls `calibrated`. Several processes share the work
    and the first writes. Raises `InputError` with what is wrong with the arguments, the files, or the adapter's base,
    and `RunFailed` for a model whose losses are no numbers.
    """
    problems = _problems(request)
    if problems:
        raise InputError(problems)
    where = Model(path=request.model)
    encoder = _encoder(request, where)
    if request.calibrate:
        source = replace(request.source, path=request.calibrate)
        benchmark = open_held_out(request.benchmark, source, encoder)
    else:
        benchmark = open_benchmark(request.benchmark, request.source, encoder)
    reference = None
    if request.reference:
        reference = benchmark.read_log(request.reference)
        check_reference(reference, measured_by(benchmark, encoder))
    if request.output is not None:
        check_writable(request.output, "--output")
    workload = benchmark.workload(encoder)
    if workload:
        say_what_is_cut(workload.scored, encoder.max_length, "--max-length")
    model, facts = _load(where, request.adapter)
    log = benchmark.evaluate(model, encoder)
    if not log.finite:
        raise RunFailed(f"The losses of {request.model} are no numbers: its weights are spoilt or overflow.")
    log.model = facts
    log.metrics = benchmark.metrics(log, reference)
    if request.calibrate:
        log.metrics = {name: log.metrics[name] for name in benchmark.calibrated}
    if request.output is not None and processes().is_main_process:
        write_json(request.output, _content(request, log), private=not request.calibrate)
    return log


def read_columns(given: str | None) -> dict[str, str]:
    """`question=NAME,answer=NAME` → which column is called what. Raises `InputError` for anything else."""
    columns = {}
    for part in filter(None, (given or "").split(",")):
        role, equals, name = (text.strip() for text in part.partition("="))
        if role not in COLUMNS or not equals or not name:
            raise InputError(
                Problem("--columns", f"{part.strip()!r} names no column.",
                        f"Write {', '.join(f'{known}=NAME' for known in COLUMNS)}, as many as you need.")
            )  # fmt: skip
        columns[role] = name
    return columns


def facts(log: EvaluationLog) -> dict[str, Any]:
    """What a figure of `log` must be quoted with, besides its N."""
    return {
        "benchmark": log.benchmark,
        "metric_version": log.metric_version,
        "model": log.model,
        "data": log.data,
        "settings": log.settings,
        "generated": log.generated,
    }


def _problems(request: EvaluationRequest) -> list[Problem]:
    choices: list[tuple[str, str, Sequence[str]]] = [
        ("--benchmark", request.benchmark, list(BENCHMARKS)),
        ("--format", request.output_format, FORMATS),
        ("--template", request.template, ("auto", *TEMPLATES)),
    ]
    problems = [
        Problem(option, f"there is no {option.lstrip('-')} {value!r}.", nearest(value, known))
        for option, value, known in choices
        if value not in known
    ]
    if request.output is not None and request.output.is_dir():
        problems.append(
            Problem("--output", f"{str(request.output)!r} is a folder.", "Name a file for the log.")
        )
    source = request.source
    given = {
        "--data": source.path,
        "--forget": source.forget,
        "--retain": source.retain,
        "--holdout": source.holdout,
        "--reference": request.reference,
        "--truth-ratio": source.truth_ratio,
        "--max-new-tokens": source.max_new_tokens,
        "--columns": source.columns or None,
        "--format": None if request.output_format == "expunge" else request.output_format,
    }
    problems += [
        Problem(
            option, f"it is for {', '.join(USED_BY[option])}, not for {request.benchmark}.", "Leave it out."
        )
        for option, value in given.items()
        if value is not None and request.benchmark in BENCHMARKS and request.benchmark not in USED_BY[option]
    ]
    problems += [
        Problem(option, "with --calibrate its text is measured alone.", "Leave it out.")
        for option in ("--data", "--forget", "--retain")
        if request.calibrate and given[option] is not None
    ]
    if request.output_format == "open-unlearning" and source.truth_ratio == "arithmetic":
        problems.append(
            Problem("--truth-ratio", "open-unlearning's format holds the geometric one.",
                    "Leave it out, or write the log in expunge's own format.")
        )  # fmt: skip
    return problems


def _encoder(request: EvaluationRequest, where: Model) -> Encoder:
    tokenizer = load_tokenizer(where, "MODEL")
    config = load_config(where, "MODEL")
    window = window_of(config)
    longest = request.max_length or min(Encoder.max_length, window)
    if longest > window:
        raise InputError(
            Problem("--max-length", f"{longest} tokens do not fit into the model's window of {window}.",
                    f"Set it to {window} or less.")
        )  # fmt: skip
    return Encoder(tokenizer, choose_template(request.template, tokenizer), longest, vocabulary_of(config))


def _load(where: Model, adapter: Path | None) -> tuple[Any, dict[str, Any]]:
    """The model, and what the log says about it."""
    model = load_model(where, "MODEL")
    described = {
        "path": where.path,
        "fingerprint": fingerprint(model),
        "adapter": str(adapter) if adapter else None,
        **({"adapter_hash": hash_files(adapter.glob("**/*.safetensors"))} if adapter else {}),
    }
    if adapter is not None and (adapter / ASSISTANT_FILE).is_file():
        model = load_assisted(model, adapter)
    elif adapter is not None:
        model = load_adapter(model, adapter)
    return model, described


def _content(request: EvaluationRequest, log: EvaluationLog) -> dict[str, Any]:
    if request.calibrate:
        return {
            "schema": THRESHOLDS_SCHEMA,
            **facts(log),
            "thresholds": {name: metric.value for name, metric in log.metrics.items()},
            "metrics": {name: metric.to_json() for name, metric in log.metrics.items()},
        }
    return log.to_json() if request.output_format == "expunge" else to_open_unlearning(log)
