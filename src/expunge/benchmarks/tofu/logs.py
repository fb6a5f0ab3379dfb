"""TOFU logs of three makers: expunge's own, the TOFU authors' and open-unlearning's, read alike.

The metrics of `tofu_metrics` can be computed on any of them; only our own holds everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError, Problem
from ...evaluation.checked import checked
from ...evaluation.log import Count, EvaluationLog, Likelihood, Loss, QuestionRecord
from ...storage import read_json
from .metrics import HOLDOUT, METRIC_VERSION
from .open_unlearning import PREFIXES, open_unlearning_sets

#: Evaluation set → its part of an aggregated log of the TOFU authors.
AUTHORS_PARTS = {
    "forget": "eval_log_forget.json",
    "retain": "eval_log.json",
    "real_authors": "eval_real_author_wo_options.json",
    "world_facts": "eval_real_world_wo_options.json",
}
AGAIN = "Write it again with the tool that made it."


@dataclass(frozen=True)
class _AuthorsPart:
    """Columns of index → value; `generated_text` is [prompt, generation, truth]."""

    gt_loss: dict[int, Loss]
    num_token_gt: dict[int, Count]
    paraphrased_loss: dict[int, Loss]
    num_token_paraphrased: dict[int, Count]
    perturb_loss: dict[int, list[Loss]]
    num_token_perturb: dict[int, list[Count]]
    generated_text: dict[int, tuple[str, str, str]]


def read_tofu_log(path: str | Path) -> EvaluationLog:
    """Read a log in any of the three formats, recognised by its keys.

    Raises InputError naming the file where it is missing, not JSON or of no known format, and the key and the row as
    well where it is incomplete or damaged.
    """
    where = str(path)
    try:
        content = read_json(Path(path))
    except FileNotFoundError:
        raise InputError(Problem(where, "there is no such file.", "Name a TOFU evaluation log.")) from None
    except (OSError, ValueError) as error:
        raise InputError(Problem(where, f"the file is not JSON ({error}).", "Name a JSON log.")) from None
    log = _recognised(content, where)
    if log is None or log.benchmark != "tofu":
        fault = (
            "the file is no TOFU log of a known format." if log is None else f"it is a {log.benchmark} log."
        )
        remedy = (
            "Known are expunge's own, the TOFU authors' aggregated log and open-unlearning's TOFU_EVAL.json."
        )
        raise InputError(Problem(where, fault, remedy))
    problems = [
        Problem(f"{where}: {name}, row {number}", reason, AGAIN)
        for name, records in log.sets.items()
        if name != HOLDOUT
        for number, record in enumerate(records, start=1)
        for reason in _unusable(record, records[0])
    ]
    if problems:
        raise InputError(problems)
    return log


def _unusable(record: QuestionRecord, first: QuestionRecord) -> Iterator[str]:
    """The reasons why no truth ratio, or none like that of the set's first question, can be computed."""
    if not record.perturbed:
        yield "it holds no wrong answers."
    if (record.paraphrased is None) != (first.paraphrased is None):
        ours, others = ("no", "one") if record.paraphrased is None else ("a", "none")
        yield f"it holds {ours} paraphrased answer, and row 1 {others}."
    answers = (record.answer, *record.perturbed, record.paraphrased)
    if any(answer is not None and not answer.tokens for answer in answers):
        yield "an answer has no tokens."


def _recognised(content: Any, where: str) -> EvaluationLog | None:
    keys = content.keys() if isinstance(content, dict) else set()
    if "schema" in keys:
        return EvaluationLog.from_json(content, where)
    if any(part in keys for part in AUTHORS_PARTS.values()):
        sets = {
            name: _authors_records(content[part], f"{where}: {part}")
            for name, part in AUTHORS_PARTS.items()
            if part in keys
        }
    elif any(f"{prefix}_Q_A_Prob" in keys for prefix in PREFIXES.values()):
        sets = open_unlearning_sets(content, where)
    else:
        return None
    generated = all(
        record.generation is not None
        for name, records in sets.items()
        if name != HOLDOUT
        for record in records
    )
    return EvaluationLog("tofu", METRIC_VERSION, generated, sets, source=where)


def _authors_records(content: Any, where: str) -> list[QuestionRecord]:
    """The generation begins with the template's "Answer: ": the authors' ROUGE includes it, so it stays."""
    part = checked(_AuthorsPart, content, where, AGAIN)
    problems = [
        Problem(f"{where}, {name}.{index}", f"it is not in both {name} and generated_text.", AGAIN)
        for name, column in vars(part).items()
        for index in sorted(column.keys() ^ part.generated_text.keys())
    ] or [
        Problem(f"{where}, perturb_loss.{index}", "there are not as many as in num_token_perturb.", AGAIN)
        for index, losses in part.perturb_loss.items()
        if len(losses) != len(part.num_token_perturb[index])
    ]
    if problems:
        raise InputError(problems)
    return [
        QuestionRecord(
            index=index,
            answer=Likelihood(part.gt_loss[index], part.num_token_gt[index]),
            paraphrased=Likelihood(part.paraphrased_loss[index], part.num_token_paraphrased[index]),
            perturbed=tuple(map(Likelihood, part.perturb_loss[index], part.num_token_perturb[index])),
            generation=generation,
            truth=truth,
        )
        for index, (_, generation, truth) in part.generated_text.items()
    ]
