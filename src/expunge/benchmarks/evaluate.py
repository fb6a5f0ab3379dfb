"""Any model on a benchmark: `expunge eval`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..adapters.assistant import ASSISTANT_FILE, load_assisted
from ..adapters.export import load_adapter
from ..adapters.loading import load_model
from ..data.encoding import Encoder, say_what_is_cut
from ..data.templates import TEMPLATES, choose_template
from ..errors import InputError, Problem, RunFailed, nearest, placed_by
from ..evaluation.log import EvaluationLog
from ..evaluation.measures import calibrated
from ..intact import check_writable
from ..models.fingerprint import fingerprint, tokenizer_digest
from ..models.loadable import check_loadable
from ..models.loading import load_config, load_tokenizer
from ..models.processes import processes
from ..models.settings import Model
from ..models.window import vocabulary_of, window_of
from ..settings import misfit
from ..storage import hash_files, write_json
from .comparable import check_reference, measured_by
from .declaration import LOG_FORMAT, Declaration, Options
from .registry import benchmarks

THRESHOLDS_SCHEMA = "expunge.thresholds/1"


@dataclass(frozen=True)
class EvaluationRequest:
    """A model that `evaluate_model` is to measure, and the benchmark to measure it on.

    model:     folder or hub id of a base or a merged model
    options:   the benchmark's own options, as the command line calls them without dashes, with their values
    adapter:   folder of an adapter for that base, or of an assistant (method uld)
    reference: log of a model that never saw the forget set
    template:  how a question and its answer are written
    max_length: longest sequence in tokens; None for 512, or the model's window where it is shorter
    calibrate: text that the model never saw, to compute thresholds on in place of evaluating the benchmark
    output:    file for the per-question log, or for the thresholds
    beneath:   adapters of earlier requests, which are added to the model first, in this order
    """

    model: str
    benchmark: str
    options: Mapping[str, Any] = field(default_factory=dict)
    adapter: Path | None = None
    reference: Path | None = None
    template: str = "auto"
    max_length: int | None = None
    calibrate: str | None = None
    output: Path | None = None
    beneath: Sequence[Path] = ()


#: Options that are not of one benchmark.
GENERAL = [part.name for part in fields(EvaluationRequest) if part.name not in ("model", "options")]


def evaluate_model(request: EvaluationRequest) -> EvaluationLog:
    """Measure a base, adapted or merged model; the log names metric version, data hash and model fingerprint.

    For thresholds, the log keeps only the metrics that are declared `calibrated`. Several processes share the work and
    the first writes. Raises `InputError` with what is wrong with the arguments, the files, or the adapter's base,
    and `RunFailed` for a model whose losses are no numbers.
    """
    declared, options = _checked(request)
    where = Model(path=request.model, adapters=[str(adapter) for adapter in request.beneath])
    check_loadable(where, "MODEL")
    encoder = _encoder(request, where)
    called = {name: name for name in GENERAL} | options.names()
    with placed_by(lambda place: _spelled(called[place]) if place in called else place):
        if request.calibrate:
            benchmark = declared.open_held_out(request.calibrate, options, encoder)
        else:
            benchmark = declared.open(options, encoder)
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
    facts["tokenizer"] = tokenizer_digest(encoder.tokenizer)
    log = benchmark.evaluate(model, encoder)
    if not log.finite:
        raise RunFailed(f"The losses of {request.model} are no numbers: its weights are spoilt or overflow.")
    log.model = facts
    log.metrics = benchmark.all_metrics(log, reference)
    if request.calibrate:
        log.metrics = {name: log.metrics[name] for name in calibrated() if name in log.metrics}
    if request.output is not None and processes().is_main_process:
        content = _thresholds(log) if request.calibrate else declared.content(log, options)
        write_json(request.output, content, private=not request.calibrate)
    return log


def facts(log: EvaluationLog) -> dict[str, Any]:
    """The facts that anyone who quotes a figure of `log` must add to it, besides its N."""
    return {
        "benchmark": log.benchmark,
        "metric_version": log.metric_version,
        "model": log.model,
        "data": log.data,
        "settings": log.settings,
        "generated": log.generated,
    }


def _checked(request: EvaluationRequest) -> tuple[Declaration[Any], Options]:
    """The benchmark that is asked for, and its options. Raises `InputError` with all that is wrong with either."""
    known, _ = benchmarks.loadable()
    problems = list(_general_problems(request, known))
    if request.benchmark not in benchmarks:
        raise InputError([benchmarks.problem(request.benchmark, "--benchmark"), *problems])
    declared = benchmarks[request.benchmark]
    problems += _misplaced(request, declared, known)
    own = {name: value for name, value in request.options.items() if _takes(declared, name, value)}
    try:
        options = declared.options.model_validate(own)
    except ValidationError as error:
        raise InputError(
            [*problems, *(misfit(_spelled(str(detail["loc"][0])), detail) for detail in error.errors())]
        ) from None
    if problems:
        raise InputError(problems)
    return declared, options


def _general_problems(request: EvaluationRequest, known: Mapping[str, Declaration[Any]]) -> Iterator[Problem]:
    formats = dict.fromkeys(name for declared in known.values() for name in declared.formats)
    choices: list[tuple[str, str, Iterable[str]]] = [
        ("format", request.options.get("format", LOG_FORMAT), formats),
        ("template", request.template, ("auto", *TEMPLATES)),
    ]
    for option, value, choice in choices:
        if value not in choice:
            yield Problem(_spelled(option), f"there is no {option} {value!r}.", nearest(value, choice))
    if request.output is not None and request.output.is_dir():
        yield Problem("--output", f"{str(request.output)!r} is a folder.", "Name a file for the log.")


def _misplaced(
    request: EvaluationRequest, declared: Declaration[Any], known: Mapping[str, Declaration[Any]]
) -> Iterator[Problem]:
    """Problems with the options that are given and belong to other benchmarks, or to none."""
    given = {**request.options, "reference": request.reference, "calibrate": request.calibrate}
    for option, value in given.items():
        if value is None or _takes(declared, option, value):
            continue
        users = [name for name, other in known.items() if _takes(other, option, value)]
        if users and option == "calibrate":
            reason = f"the benchmark {declared.name} has no thresholds."
            yield Problem("--calibrate", reason, f"Leave it out, or calibrate {', '.join(users)}.")
        elif users:
            reason = f"it is for {', '.join(users)}, not for {declared.name}."
            yield Problem(_spelled(option), reason, "Leave it out.")
        elif option != "format":  # of which there may be none at all
            options = map(_spelled, [*declared.options.names().values(), *GENERAL])
            yield Problem(
                _spelled(option), f"{declared.name} has no such option.", nearest(_spelled(option), options)
            )
    for option in ("data", "forget", "retain"):
        if request.calibrate and option in request.options:
            yield Problem(_spelled(option), "with --calibrate its text is measured alone.", "Leave it out.")


def _takes(declared: Declaration[Any], option: str, value: Any) -> bool:
    if option == "format":
        return value in declared.formats
    if option in ("reference", "calibrate"):
        return declared.compares if option == "reference" else declared.has_thresholds
    return option in declared.options.names().values()


def _spelled(option: str) -> str:
    return f"--{option.replace('_', '-')}"


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
        **({"beneath": where.adapters} if where.adapters else {}),
        **({"adapter_hash": hash_files(adapter.glob("**/*.safetensors"))} if adapter else {}),
    }
    if adapter is not None and (adapter / ASSISTANT_FILE).is_file():
        model = load_assisted(model, adapter)
    elif adapter is not None:
        model = load_adapter(model, adapter)
    return model, described


def _thresholds(log: EvaluationLog) -> dict[str, Any]:
    return {
        "schema": THRESHOLDS_SCHEMA,
        **facts(log),
        "thresholds": {name: metric.value for name, metric in log.metrics.items()},
        "metrics": {name: metric.to_json() for name, metric in log.metrics.items()},
    }
