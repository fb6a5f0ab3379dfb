from __future__ import annotations

import json
import math

import pytest

from expunge.benchmarks.tofu.logs import read_tofu_log
from expunge.cli import main
from expunge.errors import InputError
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.metric import Metric


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


def values(**rows: dict) -> dict:
    return {"agg_value": 0.0, "value_by_index": {index.removeprefix("q"): row for index, row in rows.items()}}


def open_unlearning_log() -> dict:
    """Two forget questions and the scores of two attacks on them and on three samples of a holdout."""
    scores = {"forget": [1.0, 2.0], "holdout": [3.0, 4.0, 5.0]}
    return {
        "forget_Q_A_Prob": values(q0={"avg_loss": 1.5}, q1={"avg_loss": 2.5}),
        "forget_Q_A_PARA_Prob": values(q0={"avg_loss": 3.5}, q1={"avg_loss": 4.5}),
        "forget_Q_A_PERT_Prob": values(q0={"avg_loss": [5.5, 6.5]}, q1={"avg_loss": [7.5, 8.5]}),
        "forget_Q_A_ROUGE": values(
            q0={"generation": "a", "ground_truth": "b"}, q1={"generation": "c", "ground_truth": "d"}
        ),
        "exact_memorization": values(q0={"score": 0.75}, q1={"score": None}),
        "extraction_strength": values(q0={"score": 0.5}, q1={"score": None}),
        **{
            metric: {
                side: values(
                    **{f"q{index}": {"score": score * factor} for index, score in enumerate(scores[side])}
                )
                for side in scores
            }
            for metric, factor in (("mia_min_k", 10), ("mia_gradnorm", -2))
        },
    }


def test_open_unlearning_format(tmp_path):
    file = tmp_path / "TOFU_EVAL.json"
    file.write_text(json.dumps(open_unlearning_log()))
    log = read_tofu_log(file)
    assert log.generated
    assert log.sets["forget"] == [
        QuestionRecord(
            0,
            Likelihood(1.5, 1),
            Likelihood(3.5, 1),
            (Likelihood(5.5, 1), Likelihood(6.5, 1)),
            "a",
            "b",
            strength=0.5,
            scores={"exact_memorization": 0.75, "min_k": -10.0, "gradient_norm": 2.0},
        ),
        QuestionRecord(
            1,
            Likelihood(2.5, 1),
            Likelihood(4.5, 1),
            (Likelihood(7.5, 1), Likelihood(8.5, 1)),
            "c",
            "d",
            scores={"min_k": -20.0, "gradient_norm": 4.0},
        ),
    ]
    # Of a holdout whose losses the log does not hold the likelihood is empty.
    assert log.sets["holdout"] == [
        QuestionRecord(
            index, Likelihood(0.0, 0), scores={"min_k": -10.0 * score, "gradient_norm": 2.0 * score}
        )
        for index, score in enumerate((3.0, 4.0, 5.0))
    ]
    assert [record.memorized for record in log.sets["forget"]] == [0.75, None]


def test_open_unlearning_format_without_generation(tmp_path):
    content = {
        "ra_Q_A_Prob": values(q0={"prob": 0.1, "avg_loss": 2.5}),
        "ra_Q_A_PERT_Prob": values(q0={"prob": [0.1], "avg_loss": [3.5]}),
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


def three_rows() -> dict:
    """A log of ours with three forget questions, as JSON."""
    answers = Likelihood(2.0, 4), Likelihood(2.5, 4), (Likelihood(3.0, 3),) * 2
    rows = [QuestionRecord(index, *answers, "text", "truth", 2, 0.25, {"a": 1.0}) for index in range(3)]
    metrics = {"forget_probability": Metric(0.5, 3)}
    return EvaluationLog("tofu", "1", True, {"forget": rows}, metrics).to_json()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ({"answer": {"loss": "a", "tokens": 4}}, ", answer.loss: 'a' should be a valid number."),
        ({"answer": {"loss": None, "tokens": 4}}, ", answer.loss: None should be a valid number."),
        ({"answer": {"loss": True, "tokens": 4}}, ", answer.loss: True should be a valid number."),
        ({"answer": {"loss": -99999, "tokens": 4}}, ", answer.loss: -99999 should not be under 0"),
        ({"answer": {"tokens": 4}}, ", answer.loss: it is missing."),
        ({"answer": {"loss": 2.0, "tokens": 4.5}}, ", answer.tokens: 4.5 should be a valid integer."),
        (
            {"answer": {"loss": 2.0, "tokens": -4}},
            ", answer.tokens: -4 should be greater than or equal to 0.",
        ),
        ({"answer": {"loss": 2.0, "tokens": 0}}, ": an answer has no tokens."),
        ({"answer": 4}, ", answer: 4 should be an object."),
        ({"paraphrased": {"loss": [], "tokens": 4}}, ", paraphrased.loss: [] should be a valid number."),
        ({"paraphrased": None}, ": it holds no paraphrased answer, and row 1 one."),
        ({"perturbed": []}, ": it holds no wrong answers."),
        ({"perturbed": [{"loss": 1.0, "tokens": 1}, 7]}, ", perturbed.1: 7 should be an object."),
        ({"generation": 4}, ", generation: 4 should be a valid string."),
        ({"truth": ["a"]}, ", truth: ['a'] should be a valid string."),
        ({"correct": 1.5}, ", correct: 1.5 should be a valid integer."),
        ({"strength": 1.5}, ", strength: 1.5 should be less than or equal to 1."),
        ({"scores": {"a": "b"}}, ", scores.a: 'b' should be a valid number."),
    ],
)
def test_a_damaged_row_of_ours_is_named(tmp_path, capsys, monkeypatch, damage, expected):
    file = tmp_path / "log.json"
    content = three_rows()
    content["sets"]["forget"][1] |= damage
    file.write_text(json.dumps(content))
    monkeypatch.setattr("sys.argv", ["expunge", "score", "tofu", str(file), "--reference", str(file)])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    name = "forget" if f"Error: {file}: forget, row 2" in printed.err else "sets.forget"
    assert printed.err.startswith(f"Error: {file}: {name}, row 2{expected}")
    assert printed.err.count("\n") == 1


def test_what_else_is_damaged_in_ours(tmp_path):
    file = tmp_path / "log.json"
    for damage, expected in (
        ({"sets": None}, "sets: None should be a valid dictionary."),
        ({"sets": {"forget": 4}}, "sets, forget: 4 should be a valid list."),
        ({"sets": {"forget": [4]}}, "sets.forget, row 1: 4 should be an object."),
        ({"metrics": {"a": {"value": "b", "n": 1}}}, "metrics.a.value: 'b' should be a valid number"),
        ({"data": 3}, "data: 3 should be a valid dictionary."),
    ):
        file.write_text(json.dumps({**three_rows(), **damage}))
        assert sentence(file).startswith(f"{file}: {expected}")
    for key in ("sets", "metrics", "model", "data", "generated", "metric_version"):
        file.write_text(json.dumps({name: value for name, value in three_rows().items() if name != key}))
        assert sentence(file).startswith(f"{file}: {key}: ")


def test_a_diverged_model_gives_null_in_json(tmp_path, capsys, monkeypatch):
    """Its losses are no numbers or infinite, which is no damage."""
    file = tmp_path / "log.json"
    content = three_rows()
    content["sets"]["forget"][1]["answer"]["loss"] = math.nan
    content["sets"]["forget"][2]["perturbed"][0]["loss"] = math.inf
    file.write_text(json.dumps(content))
    assert not read_tofu_log(file).finite
    monkeypatch.setattr("sys.argv", ["expunge", "score", "tofu", str(file), "--json"])
    main()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    metrics = json.loads(capsys.readouterr().out, parse_constant=refuse)["metrics"]
    assert metrics["forget_probability"] == {"value": None, "n": 3, "low": None, "high": None}
    assert metrics["forget_extraction_strength"]["value"] == 0.25


def authors_log() -> dict:
    part = {
        "gt_loss": {"0": 3.0, "1": 3.5},
        "num_token_gt": {"0": 6, "1": 5},
        "paraphrased_loss": {"0": 4.0, "1": 4.5},
        "num_token_paraphrased": {"0": 5, "1": 4},
        "perturb_loss": {"0": [7.0, 9.0], "1": [7.5, 9.5]},
        "num_token_perturb": {"0": [7, 3], "1": [6, 4]},
        "generated_text": {
            "0": ["Question: q\n", "Answer: a", "truth"],
            "1": ["Question: r\n", "Answer: b", "t"],
        },
    }
    return {"eval_log_forget.json": part}


def test_a_damaged_log_of_the_authors_names_column_and_row(tmp_path):
    file = tmp_path / "log.json"

    def damaged(column: str, rows: object) -> str:
        content = authors_log()
        content["eval_log_forget.json"][column] = rows
        file.write_text(json.dumps(content))
        return sentence(file).removeprefix(f"{file}: eval_log_forget.json, ")

    assert damaged("gt_loss", {"0": 3.0, "1": "a"}).startswith("gt_loss.1: 'a' should be a valid number.")
    assert damaged("gt_loss", {"0": 3.0}).startswith(
        "gt_loss.1: it is not in both gt_loss and generated_text."
    )
    assert "forget, row 2: an answer has no tokens." in damaged("num_token_gt", {"0": 6, "1": 0})
    assert damaged("perturb_loss", {"0": [7.0], "1": [7.5, 9.5]}).startswith(
        "perturb_loss.0: there are not as many"
    )
    assert damaged("generated_text", {"0": ["q", "a"]}).startswith("generated_text.0.2: it is missing.")
    assert damaged("paraphrased_loss", None).startswith(
        "paraphrased_loss: None should be a valid dictionary."
    )
    file.write_text(json.dumps({"eval_log.json": {"generated_text": {"0": ["q", "a", "t"]}}}))
    assert f"{file}: eval_log.json, gt_loss: it is missing." in sentence(file)


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (["forget_Q_A_PARA_Prob"], None, "forget_Q_A_PARA_Prob: it holds no value_by_index."),
        (["forget_Q_A_PERT_Prob"], None, "forget_Q_A_PERT_Prob: it holds no value_by_index."),
        (["forget_Q_A_Prob"], {"agg_value": 0.5}, "forget_Q_A_Prob: it holds no value_by_index."),
        (["forget_Q_A_Prob"], 0.5, "forget_Q_A_Prob: it holds no value_by_index."),
        (["forget_Q_A_ROUGE"], {"agg_value": 0.5}, "forget_Q_A_ROUGE: it holds no value_by_index."),
        (["mia_min_k"], {"auc": 0.5}, "mia_min_k.forget: it holds no value_by_index."),
        (
            ["forget_Q_A_PARA_Prob", "value_by_index", "1"],
            None,
            "forget_Q_A_PARA_Prob.value_by_index: question 1 is not in both this and the other metrics of its set.",
        ),
        (
            ["forget_Q_A_Prob", "value_by_index", "1"],
            {"prob": 0.5},
            "forget_Q_A_Prob.value_by_index, 1.avg_loss: it is missing.",
        ),
        (
            ["forget_Q_A_PERT_Prob", "value_by_index", "1", "avg_loss"],
            [1.0, "a"],
            "forget_Q_A_PERT_Prob.value_by_index, 1.avg_loss.1: 'a' should be a valid number.",
        ),
        (
            ["forget_Q_A_PERT_Prob", "value_by_index", "1", "avg_loss"],
            [],
            "forget_Q_A_PERT_Prob.value_by_index, 1.avg_loss: [] should not be empty.",
        ),
        (
            ["forget_Q_A_ROUGE", "value_by_index", "1", "generation"],
            4,
            "forget_Q_A_ROUGE.value_by_index, 1.generation: 4 should be a valid string.",
        ),
        (
            ["mia_min_k", "holdout", "value_by_index", "1", "score"],
            "a",
            "mia_min_k.holdout.value_by_index, 1.score: 'a' should be a valid number.",
        ),
    ],
)
def test_a_damaged_log_of_open_unlearning_names_metric_and_row(tmp_path, keys, value, expected):
    content = open_unlearning_log()
    *path, last = keys
    place = content
    for key in path:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    file = tmp_path / "TOFU_EVAL.json"
    file.write_text(json.dumps(content))
    assert sentence(file).startswith(f"{file}: {expected}")
