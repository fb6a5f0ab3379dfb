"""A folder of lm-eval tasks with their questions, made on the spot: nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from task_files import questions, write_group, write_task


@pytest.fixture
def task_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`letters`: choices of one token; `phrases`: of several; `last_word`: one continuation; `essay`: generated.

    `both` is a group of the first two that counts every question the same, `halves` one that does not.
    """
    pytest.importorskip("lm_eval", reason="needs the extra `eval`: pip install 'expunge[eval]'")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    write_task(folder, "letters", questions(11, seed=1))
    write_task(
        folder, "phrases", questions(7, seed=2), doc_to_choice="choices",
        metric_list=[{"metric": metric, "aggregation": "mean", "higher_is_better": True}
                     for metric in ("acc", "acc_norm")],
    )  # fmt: skip
    write_task(
        folder, "last_word", questions(5, seed=3), output_type="loglikelihood", doc_to_choice=None,
        doc_to_target=" {{choices[0]}}",
        metric_list=[{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
                     {"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )  # fmt: skip
    write_task(
        folder, "essay", questions(4, seed=4), output_type="generate_until", doc_to_choice=None,
        doc_to_target="{{choices[0]}}", generation_kwargs={"max_gen_toks": 3, "until": ["w3"]},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )  # fmt: skip
    write_group(folder, "both", ["letters", "phrases"])
    write_group(folder, "halves", ["letters", "phrases"], by_size=False)
    return folder
