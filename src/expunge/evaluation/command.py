"""`expunge eval`: any model on a benchmark."""

from __future__ import annotations

from pathlib import Path

from ..adapters.export import check_base
from ..data.encoding import Encoder
from ..data.templates import TEMPLATES, choose_template
from ..errors import InputError, Problem, nearest
from ..models.fingerprint import fingerprint
from ..models.loading import load_model, load_tokenizer
from ..recipe.schema import Model
from ..storage import write_json
from .metric import Metric
from .tofu.benchmark import TofuBenchmark
from .tofu.logs import read_tofu_log
from .tofu.open_unlearning import to_open_unlearning

FORMATS = ("expunge", "open-unlearning")


def evaluate_model(
    model: str,
    *,
    benchmark: str,
    data: str,
    forget: str,
    adapter: Path | None = None,
    reference: Path | None = None,
    template: str = "auto",
    output: Path | None = None,
    output_format: str = "expunge",
) -> dict[str, Metric]:
    """Measure a base, adapted or merged model; write the per-question log where `output` says.

    Raises `InputError` with what is wrong with the arguments, the files, or the adapter's base.
    """
    choices = [
        ("--benchmark", benchmark, ("tofu",)),
        ("--format", output_format, FORMATS),
        ("--template", template, ("auto", *TEMPLATES)),
    ]
    problems = [
        Problem(option, f"there is no {option.lstrip('-')} {value!r}.", nearest(value, known))
        for option, value, known in choices
        if value not in known
    ]
    if output is not None and output.is_dir():
        problems.append(Problem("--output", f"{str(output)!r} is a folder.", "Name a file for the log."))
    if problems:
        raise InputError(problems)
    measured = TofuBenchmark(data, forget)
    reference_log = read_tofu_log(reference) if reference else None
    where = Model(path=model)
    tokenizer = load_tokenizer(where, "MODEL")
    loaded = load_model(where, "MODEL")
    base = fingerprint(loaded)
    if adapter is not None:
        from peft import PeftModel

        check_base(loaded, adapter)
        loaded = PeftModel.from_pretrained(loaded, str(adapter))
    encoder = Encoder(tokenizer, choose_template(template, tokenizer))
    log = measured.evaluate(loaded, encoder)
    log.model = {"path": model, "fingerprint": base, "adapter": str(adapter) if adapter else None}
    log.metrics = measured.metrics(log, reference_log)
    if output is not None:
        write_json(output, log.to_json() if output_format == "expunge" else to_open_unlearning(log))
    return log.metrics
