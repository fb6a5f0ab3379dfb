"""TOFU logs of three makers: expunge's own, the TOFU authors' and open-unlearning's, read alike.

The metrics of `tofu_metrics` can be computed on any of them; only our own holds everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import InputError, Problem
from ...storage import read_json
from ..log import EvaluationLog, Likelihood, QuestionRecord
from .metrics import METRIC_VERSION
from .open_unlearning import PREFIXES, open_unlearning_records

#: Evaluation set → its part of an aggregated log of the TOFU authors.
AUTHORS_PARTS = {
    "forget": "eval_log_forget.json",
    "retain": "eval_log.json",
    "real_authors": "eval_real_author_wo_options.json",
    "world_facts": "eval_real_world_wo_options.json",
}


def read_tofu_log(path: str | Path) -> EvaluationLog:
    """Read a log in any of the three formats, recognised by its keys.

    Raises InputError naming the file where it is missing, not JSON, of no known format or incomplete.
    """
    where = str(path)
    try:
        content = read_json(Path(path))
    except FileNotFoundError:
        raise InputError(Problem(where, "there is no such file.", "Name a TOFU evaluation log.")) from None
    except (OSError, ValueError) as error:
        raise InputError(Problem(where, f"the file is not JSON ({error}).", "Name a JSON log.")) from None
    try:
        log = _recognised(content, where)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        reason = f"the log is incomplete or damaged ({error!r})."
        raise InputError(Problem(where, reason, "Write it again with the tool that made it.")) from error
    if log is None or log.benchmark != "tofu":
        found = (
            "the file is no TOFU log of a known format." if log is None else f"it is a {log.benchmark} log."
        )
        remedy = (
            "Known are expunge's own, the TOFU authors' aggregated log and open-unlearning's TOFU_EVAL.json."
        )
        raise InputError(Problem(where, found, remedy))
    return log


def _recognised(content: Any, where: str) -> EvaluationLog | None:
    keys = content.keys() if isinstance(content, dict) else set()
    if "schema" in keys:
        return EvaluationLog.from_json(content, where)
    if any(part in keys for part in AUTHORS_PARTS.values()):
        sets = {name: _authors_records(content[part]) for name, part in AUTHORS_PARTS.items() if part in keys}
    elif any(f"{prefix}_Q_A_Prob" in keys for prefix in PREFIXES.values()):
        sets = {
            name: open_unlearning_records(content, prefix)
            for name, prefix in PREFIXES.items()
            if f"{prefix}_Q_A_Prob" in keys
        }
    else:
        return None
    generated = all(record.generation is not None for records in sets.values() for record in records)
    return EvaluationLog("tofu", METRIC_VERSION, generated, sets, source=where)


def _authors_records(part: Mapping[str, Any]) -> list[QuestionRecord]:
    """Columns of index → value; `generated_text` is [prompt, generation, truth].

    The generation begins with the template's "Answer: ": the authors' ROUGE includes it, so it stays.
    """
    return [
        QuestionRecord(
            index=int(index),
            answer=Likelihood(part["gt_loss"][index], part["num_token_gt"][index]),
            paraphrased=Likelihood(part["paraphrased_loss"][index], part["num_token_paraphrased"][index]),
            perturbed=tuple(
                Likelihood(loss, tokens)
                for loss, tokens in zip(
                    part["perturb_loss"][index], part["num_token_perturb"][index], strict=True
                )
            ),
            generation=text[1],
            truth=text[2],
        )
        for index, text in part["generated_text"].items()
    ]
