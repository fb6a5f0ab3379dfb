"""TDEC's figures by hand and against loops, and the benchmark through `expunge eval`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from expunge.benchmarks.tdec.benchmark import TdecBenchmark
from expunge.benchmarks.tdec.declaration import TDEC, TdecOptions
from expunge.benchmarks.tdec.files import TokenSequence
from expunge.cli import main
from expunge.data.samples import Text
from expunge.errors import InputError
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.models.fingerprint import fingerprint
from expunge.storage import read_json
from greedy_loops import GreedyLoops
from tdec_files import random_sequences, write_tdec


def test_figures_are_those_of_single_generations(tiny_llama, encoder) -> None:
    loops = GreedyLoops(tiny_llama)
    sequences = [loops.disturbed([5], 24, {}), loops.disturbed([6], 24, {11: 40}), list(range(3, 20))]
    benchmark = TdecBenchmark(
        [TokenSequence(tuple(sequence)) for sequence in sequences], [Text("w5 w6 w7")], encoder, {"path": "x"}
    )
    measured = benchmark.measure(tiny_llama, encoder)
    assert not measured.generated
    assert "forget_extraction_likelihood" not in benchmark.metrics(measured, None)
    log = benchmark.generate(tiny_llama, encoder, measured)
    for record, sequence in zip(log.sets["forget"], sequences, strict=True):
        assert record.correct / record.answer.tokens == loops.memorization_accuracy(sequence)
        assert record.answer.tokens == len(sequence) - 1
        expected = loops.extraction_likelihood(sequence, 10)
        assert record.scores["extraction_likelihood"] == pytest.approx(expected)
    assert log.sets["forget"][0].scores["extraction_likelihood"] == 1.0
    assert EvaluationLog.from_json(json.loads(json.dumps(log.to_json()))) == log
    assert (log.benchmark, log.generated, log.sets["retain"][0].answer.tokens) == ("tdec", True, 2)


def test_metrics_by_hand(encoder) -> None:
    def record(loss: float, tokens: int, correct: int, written: float | None = None) -> QuestionRecord:
        scores = {} if written is None else {"extraction_likelihood": written}
        return QuestionRecord(0, Likelihood(loss, tokens), correct=correct, scores=scores)

    benchmark = TdecBenchmark([TokenSequence(tuple(range(11)))], [], encoder, {"path": "x"})
    sets = {"forget": [record(2.0, 10, 9, 0.75), record(4.0, 10, 3, 0.05)], "retain": [record(6.0, 4, 1)]}
    metrics = benchmark.metrics(EvaluationLog("tdec", "1", True, sets), None)
    found = {name: (metric.value, metric.n) for name, metric in metrics.items() if "strength" not in name}
    assert found == {
        "forget_memorization_accuracy": (pytest.approx(0.6), 2),
        "forget_extraction_likelihood": (pytest.approx(0.4), 2),
        "forget_probability": (pytest.approx((math.exp(-0.2) + math.exp(-0.4)) / 2), 2),
        "retain_probability": (pytest.approx(math.exp(-1.5)), 1),
        "forget_perplexity": (pytest.approx(math.exp(6 / 20)), 2),
        "retain_memorization_accuracy": (pytest.approx(0.25), 1),
        "retain_perplexity": (pytest.approx(math.exp(1.5)), 1),
    }
    assert benchmark.forget_score(metrics) == pytest.approx(1 - (0.6 + 0.4) / 2)
    assert benchmark.utility(metrics, generated=True) == pytest.approx(math.exp(-1.5))
    without = {name: metric for name, metric in metrics.items() if name == "forget_memorization_accuracy"}
    assert benchmark.forget_score(without) == pytest.approx(0.4)
    assert math.isnan(benchmark.utility(without, generated=False))


def test_sequences_that_cannot_be_measured_are_named(encoder) -> None:
    sequences = [
        TokenSequence(tuple(range(10))),
        TokenSequence((*range(10), 63)),
        TokenSequence((*range(10), 64)),
    ]
    with pytest.raises(InputError) as caught:
        TdecBenchmark(sequences, [], encoder, {"path": "folder"})
    short, unknown = (str(problem) for problem in caught.value.problems)
    assert "folder, sequence 1 of the set: its 10 tokens are too few for n-grams of 10" in short
    assert "sequence 3 of the set: it holds the token 64, and the tokenizer knows 64" in unknown


def test_what_the_command_names_is_checked(encoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="path: TDEC needs its sequences"):
        TDEC.open(TdecOptions(), encoder)
    with pytest.raises(InputError, match="forget: 'forget10' is no number"):
        TDEC.open(TdecOptions(path=str(tmp_path), forget="forget10"), encoder)


@pytest.fixture
def folders(tiny_llama, word_tokenizer, tmp_path: Path) -> dict[str, Path]:
    """A model, the challenge's files with 33 sequences (one in the second forget set), and texts."""
    model = tmp_path / "model"
    tiny_llama.save_pretrained(model)
    word_tokenizer.save_pretrained(model)
    (tmp_path / "retain.txt").write_text("w5 w6 w7 w8\n\nw9 w10\n")
    text = " ".join(f"w{token}" for token in random_sequences(33, 64)[32])
    (tmp_path / "held.jsonl").write_text(json.dumps({"text": text}))
    data = write_tdec(tmp_path / "tdec", random_sequences(33, 64))
    return {"model": model, "data": data, "retain": tmp_path / "retain.txt", "held": tmp_path / "held.jsonl"}


def run_eval(monkeypatch, capsys, *options: str) -> dict:
    monkeypatch.setattr("sys.argv", ["expunge", "eval", *options, "--benchmark", "tdec", "--json"])
    main()
    return json.loads(capsys.readouterr().out)


def test_eval_and_calibrate_say_what_the_figures_rest_on(
    monkeypatch, capsys, folders, tiny_llama, tmp_path: Path
) -> None:
    output, thresholds = tmp_path / "log.json", tmp_path / "thresholds.json"
    found = run_eval(
        monkeypatch, capsys, str(folders["model"]), "--data", str(folders["data"]), "--forget", "1",
        "--retain", str(folders["retain"]), "--output", str(output),
    )  # fmt: skip
    log = EvaluationLog.from_json(read_json(output))
    (record,) = log.sets["forget"]
    sequence = random_sequences(33, 64)[32].tolist()
    assert record.correct / 199 == pytest.approx(GreedyLoops(tiny_llama).memorization_accuracy(sequence))
    assert found["metrics"]["forget_memorization_accuracy"]["n"] == 1
    assert found["metrics"]["retain_perplexity"]["n"] == 2
    assert found["metric_version"] == log.metric_version == "1"
    assert found["model"]["fingerprint"] == log.model["fingerprint"] == fingerprint(tiny_llama)
    assert found["data"]["hash"] == log.data["hash"]
    assert log.data["names"] == {"forget": "forget set 1", "retain": str(folders["retain"])}

    # A recipe's data.sequences says where a forget set begins.
    more = run_eval(
        monkeypatch, capsys, str(folders["model"]), "--data", str(folders["data"]), "--forget", "1",
        "--sequences", "30", "--output", str(output),
    )  # fmt: skip
    assert more["metrics"]["forget_memorization_accuracy"]["n"] == 3

    # The held-out text is the same sequence, as text.
    arguments = [str(folders["model"]), "--calibrate", str(folders["held"]), "--output", str(thresholds)]
    calibrated = run_eval(monkeypatch, capsys, *arguments)["metrics"]
    assert set(calibrated) == {"forget_extraction_likelihood", "forget_memorization_accuracy"}
    assert calibrated == {name: found["metrics"][name] for name in calibrated}
    written = read_json(thresholds)
    assert written["schema"] == "expunge.thresholds/1"
    assert written["metrics"] == calibrated
    assert written["thresholds"] == {name: metric["value"] for name, metric in calibrated.items()}


def test_calibration_is_refused_where_there_are_no_thresholds(monkeypatch, capsys, folders) -> None:
    arguments = ["eval", str(folders["model"]), "--benchmark", "tofu", "--calibrate", str(folders["held"])]
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 2
    assert "--calibrate: the benchmark tofu has no thresholds" in capsys.readouterr().err
