from __future__ import annotations

import json

import pytest

from expunge.errors import InputError
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.tofu.logs import read_tofu_log


def sentence(path) -> str:
    with pytest.raises(InputError) as caught:
        read_tofu_log(path)
    return str(caught.value)


def own_log(benchmark: str = "tofu") -> EvaluationLog:
    record = QuestionRecord(0, Likelihood(2.0, 4), None, (Likelihood(3.0, 3),), "text", "truth", 2, 0.25)
    return EvaluationLog(benchmark, "1", True, {"forget": [record]})


def test_own_format(tmp_path):
    file = tmp_path / "log.json"
    file.write_text(json.dumps(own_log().to_json()))
    log = read_tofu_log(file)
    assert log == own_log()
    assert log.label == str(file)


def test_authors_format(tmp_path):
    part = {
        "gt_loss": {"0": 3.0},
        "num_token_gt": {"0": 6},
        "paraphrased_loss": {"0": 4.0},
        "num_token_paraphrased": {"0": 5},
        "perturb_loss": {"0": [7.0, 9.0]},
        "num_token_perturb": {"0": [7, 3]},
        "generated_text": {"0": ["Question: q\n", "Answer: a", "truth"]},
    }
    file = tmp_path / "log.json"
    file.write_text(json.dumps({"eval_log_forget.json": part}))
    log = read_tofu_log(file)
    record = QuestionRecord(
        0,
        Likelihood(3.0, 6),
        Likelihood(4.0, 5),
        (Likelihood(7.0, 7), Likelihood(9.0, 3)),
        "Answer: a",
        "truth",
    )
    assert log.sets == {"forget": [record]}
    assert log.generated


def test_open_unlearning_format_without_generation(tmp_path):
    def metric(**row):
        return {"agg_value": 0.0, "value_by_index": {"0": row}}

    content = {
        "ra_Q_A_Prob": metric(prob=0.1, avg_loss=2.5),
        "ra_Q_A_PERT_Prob": metric(prob=[0.1], avg_loss=[3.5]),
    }
    file = tmp_path / "TOFU_EVAL.json"
    file.write_text(json.dumps(content))
    log = read_tofu_log(file)
    assert log.sets == {"real_authors": [QuestionRecord(0, Likelihood(2.5, 1), None, (Likelihood(3.5, 1),))]}
    assert not log.generated


def test_what_is_no_log_is_refused_by_name(tmp_path):
    file = tmp_path / "log.json"
    assert f"{file}: there is no such file." in sentence(file)
    file.write_text("{")
    assert f"{file}: the file is not JSON" in sentence(file)
    file.write_text("[1, 2]")
    assert f"{file}: the file is no TOFU log of a known format." in sentence(file)
    file.write_text(json.dumps(own_log("memorization").to_json()))
    assert f"{file}: it is a memorization log." in sentence(file)
    file.write_text(json.dumps({**own_log().to_json(), "schema": "expunge.evaluation/9"}))
    assert "its schema is 'expunge.evaluation/9', not 'expunge.evaluation/1'" in sentence(file)


def test_damaged_logs_are_refused_by_name(tmp_path):
    file = tmp_path / "log.json"
    content = own_log().to_json()
    del content["sets"]["forget"][0]["answer"]
    file.write_text(json.dumps(content))
    assert f"{file}: the log is incomplete or damaged (KeyError('answer'))" in sentence(file)
    file.write_text(json.dumps({"eval_log.json": {"generated_text": {"0": ["q", "a", "t"]}}}))
    assert f"{file}: the log is incomplete or damaged (KeyError('gt_loss'))" in sentence(file)
    file.write_text(json.dumps({"forget_Q_A_Prob": {"value_by_index": {"0": {"avg_loss": 1.0}}}}))
    assert f"{file}: the log is incomplete or damaged (KeyError('0'))" in sentence(file)
