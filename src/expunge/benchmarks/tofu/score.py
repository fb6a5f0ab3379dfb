"""TOFU's metrics from evaluation logs alone, without a model: `expunge score tofu`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ...errors import placed_by
from ...evaluation.metric import Metric
from ...evaluation.rouge import generated_pairs, rouge_scores
from ...evaluation.set_metrics import with_added
from ..comparable import check_reference, measured_in
from .logs import read_tofu_log
from .metrics import COMPARED, tofu_metrics


def score_tofu(
    log_path: str | Path, reference_path: str | Path | None = None, truth_ratio: str | None = None
) -> dict[str, Metric]:
    """TOFU's metrics of a log in any format that `read_tofu_log` knows; forget quality only with a reference.

    truth_ratio: the mean over the wrong answers; None: that of the log, which is geometric where it does not say

    Those that users' packages have added come after them.

    Raises InputError for logs that cannot be read or compared.
    """
    log, reference = read_tofu_log(log_path), None
    if reference_path is not None:
        reference = read_tofu_log(reference_path)
        check_reference(reference, measured_in(log, COMPARED))
    with placed_by(lambda place: "--truth-ratio" if place == "truth_ratio" else place):
        chosen = truth_ratio or log.data.get("truth_ratio") or "geometric"
        return with_added(tofu_metrics(log, reference, chosen), log.sets)


def rouge_by_row(log_path: str | Path) -> dict[str, list[dict[str, float]]]:
    """ROUGE of every generated answer of a log: set → rows of index, rouge1_recall, rougeL_recall, rougeL_f1."""
    log = read_tofu_log(log_path)
    rows = {}
    for name, records in log.sets.items():
        generated = [record for record in records if record.generation is not None]
        scores = rouge_scores(generated_pairs(generated))
        rows[name] = [
            {"index": record.index, **asdict(score)} for record, score in zip(generated, scores, strict=True)
        ]
    return rows
