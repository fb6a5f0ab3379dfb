"""`expunge eval` on a base, an adapted and a merged model, from folders."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from expunge import attach_adapter, export_adapter
from expunge.adapters.attach import uniform_importance
from expunge.adapters.export import export_merged
from expunge.benchmarks.tofu.score import score_tofu
from expunge.cli import main
from expunge.storage import CHECKSUMS, read_json
from precision import fp32_log_probability_tolerance
from tdec_files import random_sequences, write_tdec
from tofu_files import write_tofu


@pytest.fixture
def folders(tiny_llama, word_tokenizer, tmp_path: Path) -> dict[str, Path]:
    """A base model, its adapter, the merged model, another base, and TOFU's files."""
    made = {name: tmp_path / name for name in ("base", "adapter", "merged", "other", "data")}
    tiny_llama.save_pretrained(made["base"])
    other = AutoModelForCausalLM.from_pretrained(made["base"])
    other.model.layers[0].mlp.up_proj.weight.data.mul_(1.5)
    other.save_pretrained(made["other"])
    model = attach_adapter(tiny_llama, uniform_importance(tiny_llama), rank=2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.mul_(1.1)
    export_adapter(model, made["adapter"])
    export_merged(
        AutoModelForCausalLM.from_pretrained(made["base"]), word_tokenizer, made["adapter"], made["merged"]
    )
    for name in ("base", "other"):
        word_tokenizer.save_pretrained(made[name])
    made["data"].mkdir()
    write_tofu(made["data"])
    return made


def evaluate(monkeypatch, capsys, folders: dict[str, Path], model: str, *options: str) -> dict[str, float]:
    arguments = [
        "eval",
        str(folders[model]),
        "--data",
        str(folders["data"]),
        "--forget",
        "forget01",
        "--json",
    ]
    monkeypatch.setattr("sys.argv", ["expunge", *arguments, *options])
    main()
    return {name: metric["value"] for name, metric in json.loads(capsys.readouterr().out)["metrics"].items()}


def average_losses(file: Path) -> list[float]:
    """Nats a token, of every answer of a log: −log-probabilities."""
    return [
        likelihood["loss"] / likelihood["tokens"]
        for records in read_json(file)["sets"].values()
        for record in records
        for likelihood in (record["answer"], record["paraphrased"], *record["perturbed"])
        if likelihood is not None
    ]


def test_adapter_and_merged_model_are_the_same_and_not_the_base(
    monkeypatch, capsys, folders, tiny_llama, tmp_path
) -> None:
    losses, names = {}, {}
    for kind, model, more in (
        ("base", "base", []),
        ("adapted", "base", ["--adapter", str(folders["adapter"])]),
        ("merged", "merged", []),
    ):
        log = tmp_path / f"{kind}.json"
        names[kind] = set(evaluate(monkeypatch, capsys, folders, model, *more, "--output", str(log)))
        losses[kind] = average_losses(log)
    assert names["base"] == names["adapted"] == names["merged"]
    tolerance = fp32_log_probability_tolerance(tiny_llama, max(losses["base"]))
    assert losses["merged"] == pytest.approx(losses["adapted"], rel=0, abs=tolerance)
    moved = [abs(one - other) for one, other in zip(losses["adapted"], losses["base"], strict=True)]
    assert max(moved) > 20 * tolerance  # what is compared is no rounding


def test_the_written_log_gives_the_printed_metrics_again(monkeypatch, capsys, folders, tmp_path) -> None:
    log, exported = tmp_path / "log.json", tmp_path / "open.json"
    printed = evaluate(monkeypatch, capsys, folders, "base", "--output", str(log))
    assert {name: metric.value for name, metric in score_tofu(log).items()} == printed
    assert read_json(log)["data"]["names"]["forget"] == "forget01_perturbed"
    against = evaluate(monkeypatch, capsys, folders, "merged", "--reference", str(log))
    assert 0 < against["forget_quality"] <= 1
    evaluate(monkeypatch, capsys, folders, "base", "--output", str(exported), "--format", "open-unlearning")
    assert stat.S_IMODE(log.stat().st_mode) == stat.S_IMODE(exported.stat().st_mode) == 0o600
    again = score_tofu(exported)
    for name in ("forget_truth_ratio", "retain_probability", "model_utility"):
        assert again[name].value == pytest.approx(printed[name], rel=1e-6)


def test_an_adapter_of_another_base_and_wrong_options_are_refused(monkeypatch, capsys, folders) -> None:
    with pytest.raises(SystemExit) as leave:
        evaluate(monkeypatch, capsys, folders, "other", "--adapter", str(folders["adapter"]))
    assert leave.value.code == 2
    assert "it belongs to the base" in capsys.readouterr().err
    with pytest.raises(SystemExit) as leave:
        evaluate(monkeypatch, capsys, folders, "base", "--benchmark", "tofoo", "--format", "csv")
    assert leave.value.code == 2
    printed = capsys.readouterr().err
    assert "Did you mean 'tofu'" in printed
    assert "there is no format 'csv'" in printed


def test_both_truth_ratios_by_name(monkeypatch, capsys, folders, tmp_path) -> None:
    log = tmp_path / "log.json"
    plain = evaluate(monkeypatch, capsys, folders, "base", "--output", str(log))
    assert read_json(log)["data"]["truth_ratio"] == "geometric"
    other = evaluate(
        monkeypatch, capsys, folders, "base", "--truth-ratio", "arithmetic", "--output", str(log)
    )
    assert read_json(log)["data"]["truth_ratio"] == "arithmetic"
    assert other == {name: metric.value for name, metric in score_tofu(log, None, "arithmetic").items()}
    assert score_tofu(log) == score_tofu(log, None, "arithmetic") != score_tofu(log, None, "geometric")
    assert other["forget_truth_ratio"] != plain["forget_truth_ratio"]
    with pytest.raises(SystemExit):
        evaluate(monkeypatch, capsys, folders, "base", "--truth-ratio", "harmonic")
    said = "--truth-ratio: there is no truth ratio 'harmonic'. Did you mean 'arithmetic'?"
    assert said in capsys.readouterr().err


def test_an_export_that_would_mix_truth_ratios_is_refused(monkeypatch, capsys, folders, tmp_path) -> None:
    options = [
        "--truth-ratio",
        "arithmetic",
        "--format",
        "open-unlearning",
        "--output",
        str(tmp_path / "a.json"),
    ]
    with pytest.raises(SystemExit) as leave:
        evaluate(monkeypatch, capsys, folders, "base", *options)
    assert leave.value.code == 2
    assert "--truth-ratio: open-unlearning's format holds the geometric one" in capsys.readouterr().err


def test_options_of_one_benchmark_are_refused_by_the_others(monkeypatch, capsys, folders) -> None:
    options = ["--benchmark", "memorization", "--truth-ratio", "geometric", "--format", "open-unlearning"]
    with pytest.raises(SystemExit) as leave:
        evaluate(monkeypatch, capsys, folders, "base", *options)
    assert leave.value.code == 2
    printed = capsys.readouterr().err
    assert "--truth-ratio: it is for tofu, not for memorization" in printed
    assert "--format: it is for tofu, not for memorization" in printed
    assert (
        "--data: it is for tofu, muse, tdec, wmdp, reasoning, lm-eval, dialogue, not for memorization"
        in printed
    )
    options = ["--retain", "a.txt", "--holdout", "b.txt"]
    with pytest.raises(SystemExit):
        evaluate(monkeypatch, capsys, folders, "base", *options)
    printed = capsys.readouterr().err
    assert "--retain: it is for tdec, memorization, not for tofu. Leave it out." in printed
    assert "--holdout: it is for memorization, not for tofu. Leave it out." in printed


@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        (["--benchmark", "tofu"], ["--data: TOFU needs its files."]),
        (["--benchmark", "tdec"], ["--data: TDEC needs its sequences."]),
        (["--benchmark", "tdec", "--data", "x.csv", "--forget", "a"], ["--forget: 'a' is no number."]),
        (["--benchmark", "tdec", "--data", "absent.csv"], ["--data: there is no file 'absent.csv'"]),
        (
            ["--benchmark", "muse", "--max-new-tokens", "3"],
            ["--data: MUSE needs its files.", "--max-new-tokens: MUSE says how much is generated"],
        ),
        (["--benchmark", "muse", "--data", "absent"], ["--data: there is no folder 'absent'."]),
        (["--benchmark", "memorization"], ["--forget: there is nothing to measure."]),
        (
            ["--benchmark", "memorization", "--forget", "a.txt", "--retain", "b.txt"],
            ["--forget: there is no file 'a.txt'", "--retain: there is no file 'b.txt'"],
        ),
        (["--benchmark", "dialogue"], ["--data: there are no dialogues."]),
        (["--benchmark", "lm-eval", "--forget", " , "], ["--forget: no task is named."]),
        (["--benchmark", "wmdp", "--data", "absent"], ["--data: there is no folder 'absent'."]),
        (
            ["--benchmark", "tdec", "--calibrate", "absent.txt"],
            ["--calibrate: there is no file 'absent.txt'"],
        ),
        (
            ["--benchmark", "tdec", "--calibrate", "a.txt", "--data", "b"],
            ["--data: with --calibrate its text is measured alone."],
        ),
        (
            ["--trth-ratio", "geometric"],
            ["--trth-ratio: tofu has no such option. Did you mean '--truth-ratio'?"],
        ),
        (["--trth-ratio"], ["--trth-ratio: it needs a value. Write --trth-ratio VALUE."]),
        (["other"], ["are 2. Name one model."]),
    ],
)
def test_what_is_wrong_is_said_by_the_name_of_the_option(
    monkeypatch, capsys, folders, options: list[str], sentences: list[str]
) -> None:
    no_model(monkeypatch)
    said = refused(monkeypatch, capsys, folders["base"], *options)
    assert len(said.splitlines()) == len(sentences)
    assert all(sentence in said for sentence in sentences)


def test_an_unknown_option_may_come_before_the_model(monkeypatch, capsys, folders) -> None:
    said = refused(monkeypatch, capsys, "--colums", "text=t", folders["base"], "--benchmark", "memorization")
    assert said.startswith("Error: --colums: memorization has no such option. Did you mean '--columns'?")
    said = refused(monkeypatch, capsys, "--colums", "text=t", "--benchmark", "memorization")
    assert said == "Error: MODEL: there is none. Name one model.\n"


def test_own_files_and_what_the_figures_are_quoted_with(monkeypatch, capsys, folders, tmp_path) -> None:
    forget = tmp_path / "forget.jsonl"
    rows = [{"question": "w5 w6", "answer": "w7 w8"}, {"question": "w9", "answer": "w10 w11"}]
    forget.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = tmp_path / "log.json"
    arguments = ["eval", str(folders["base"]), "--benchmark", "memorization", "--forget", str(forget),
                 "--samples", "1", "--max-new-tokens", "3", "--output", str(log)]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    main()
    lines = capsys.readouterr().out.splitlines()
    written = read_json(log)
    assert lines[:2] == [
        f"memorization, metrics version {written['metric_version']}",
        f"model {written['model']['fingerprint']}, data {written['data']['hash']}",
    ]
    (record,) = written["sets"]["forget"]
    assert len(record["generation"].split()) <= 3
    assert any(line.startswith("forget_probability") and "N = 1" in line for line in lines)


def test_a_spoilt_model_is_said_to_be_one(monkeypatch, capsys, folders, tmp_path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders["base"])
    model.model.norm.weight.data.fill_(1e38)  # a number, but not what comes of it
    model.save_pretrained(folders["base"])
    forget = tmp_path / "forget.txt"
    forget.write_text("w5 w6 w7")
    arguments = ["eval", str(folders["base"]), "--benchmark", "memorization", "--forget", str(forget)]
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 1
    assert "its weights are spoilt or overflow" in capsys.readouterr().err


def refused(monkeypatch, capsys, *arguments: object) -> str:
    """What the command line says when it refuses them."""
    monkeypatch.setattr("sys.argv", ["expunge", "eval", *map(str, arguments)])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 2
    return capsys.readouterr().err


def write_rows(file: Path, rows: list[dict[str, str]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def no_model(monkeypatch) -> None:
    """What follows must be refused before a model is loaded: nothing is lost then."""

    def load(*_: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("expunge.benchmarks.evaluate.load_model", load)


def test_a_reference_of_something_else_is_refused_before_anything_is_measured(
    monkeypatch, capsys, folders, tmp_path
) -> None:
    log = tmp_path / "log.json"
    evaluate(monkeypatch, capsys, folders, "base", "--max-new-tokens", "4", "--output", str(log))
    written = read_json(log)
    assert written["settings"] == {
        "template": "Question: {question}\nAnswer: {answer}", "max_length": 512, "max_new_tokens": 4,
    }  # fmt: skip
    no_model(monkeypatch)
    given = (folders["base"], "--data", folders["data"], "--forget", "forget01", "--reference", log)
    said = refused(monkeypatch, capsys, *given)
    assert f"--reference: {log}: its max new tokens is 4, and the one here is 200." in said
    alike = (*given, "--max-new-tokens", 4)
    said = refused(monkeypatch, capsys, *alike, "--template", "tofu-llama2")
    assert "its template is 'Question: {question}\\nAnswer: {answer}', and the one here is '[INST]" in said
    changes = {
        "its metric version is 0, and the one here is": {"metric_version": "0"},
        "its questions or answers of the forget set are others than those here.": {
            "data": {**written["data"], "hash": "0", "hashes": {**written["data"]["hashes"], "forget": "0"}},
        },
        "of its 3 answers of the forget set 3 are not those here": {
            "data": {"hash": "0"},
            "sets": {
                name: [{**row, "truth": "w1"} for row in rows] for name, rows in written["sets"].items()
            },
        },
        "it holds 2 samples of the forget set, and here are 3.": {
            "data": {**written["data"], "hash": "0"},
            "sets": {**written["sets"], "forget": written["sets"]["forget"][:2]},
        },
    }
    for reason, change in changes.items():
        other = tmp_path / "other.json"
        other.write_text(json.dumps({**written, **change}))
        assert reason in refused(monkeypatch, capsys, *alike, "--reference", other)
        monkeypatch.setattr("sys.argv", ["expunge", "score", "tofu", str(log), "--reference", str(other)])
        with pytest.raises(SystemExit):
            main()
        assert reason in capsys.readouterr().err


def test_the_reference_may_hold_more_of_what_is_not_compared(monkeypatch, capsys, folders, tmp_path) -> None:
    """Forget Quality compares the forget sets alone, so a log of all of the others' questions will do."""
    log = tmp_path / "log.json"
    evaluate(monkeypatch, capsys, folders, "other", "--output", str(log))
    found = evaluate(monkeypatch, capsys, folders, "base", "--samples", "1", "--reference", str(log))
    assert 0 < found["forget_quality"] <= 1


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_measured(
    monkeypatch, capsys, folders, tmp_path
) -> None:
    (tmp_path / "file").write_text("mine")
    no_model(monkeypatch)
    given = (folders["base"], "--data", folders["data"], "--forget", "forget01")
    said = refused(monkeypatch, capsys, *given, "--output", tmp_path / "file" / "log.json")
    assert f"'{tmp_path / 'file'}' is a file. Name another." in said


def test_the_adapter_is_told_by_its_content(monkeypatch, capsys, folders, tmp_path) -> None:
    hashes = []
    (folders["adapter"] / CHECKSUMS).unlink()  # which would tell that it has changed
    for factor in (1.0, 1.0, 2.0):
        weights = folders["adapter"] / "adapter_model.safetensors"
        save_file({name: factor * value for name, value in load_file(weights).items()}, weights)
        log = tmp_path / "log.json"
        evaluate(
            monkeypatch, capsys, folders, "base", "--adapter", str(folders["adapter"]), "--output", str(log)
        )
        hashes.append(read_json(log)["model"]["adapter_hash"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_texts_are_cut_to_the_model_s_window_and_longer_sequences_refused(
    monkeypatch, capsys, word_tokenizer, tmp_path
) -> None:
    """Learned positions: beyond them such a model has none."""
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=32, **ends)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    word_tokenizer.save_pretrained(tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{3 + number % 61}" for number in range(100)))
    arguments = [
        "eval",
        str(tmp_path / "model"),
        "--benchmark",
        "memorization",
        "--forget",
        str(text),
        "--json",
    ]
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    main()
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["forget_probability"]["n"] == 4  # 99 predicted tokens, at most 31 in a chunk
    said = refused(monkeypatch, capsys, *arguments[1:], "--max-length", 33)
    assert "--max-length: 33 tokens do not fit into the model's window of 32." in said
    sequences = write_tdec(tmp_path / "tdec", random_sequences(2, 64))
    said = refused(monkeypatch, capsys, tmp_path / "model", "--benchmark", "tdec", "--data", sequences)
    assert "a sequence of 200 tokens does not fit into the model's window of 32." in said


def test_own_columns_and_answers_that_are_cut_off(monkeypatch, capsys, folders, tmp_path) -> None:
    rows = [{"prompt": "w5", "reply": "w6 " * 30}, {"prompt": "w7", "reply": "w8"}]
    forget = write_rows(tmp_path / "forget.jsonl", rows)
    given = [
        str(folders["base"]),
        "--benchmark",
        "memorization",
        "--forget",
        str(forget),
        "--max-length",
        "16",
    ]
    said = refused(monkeypatch, capsys, *given)
    assert "--columns question=NAME,answer=NAME" in said
    said = refused(monkeypatch, capsys, *given, "--columns", "question=prompt,answers=reply")
    assert "--columns: 'answers=reply' names no column. Write question=NAME" in said
    monkeypatch.setattr("sys.argv", ["expunge", "eval", *given, "--columns", "question=prompt,answer=reply"])
    main()
    said = capsys.readouterr()
    assert "1 answer(s) end beyond 16 tokens and are cut off there" in said.err
    assert "--max-length sets the length" in said.err
    assert "forget_probability" in said.out


def test_what_the_model_never_saw_is_not_what_it_has_to_forget(
    monkeypatch, capsys, folders, tmp_path
) -> None:
    forget = write_rows(tmp_path / "forget.jsonl", [{"question": "w5", "answer": "w6"}])
    given = [folders["base"], "--benchmark", "memorization", "--forget", forget, "--holdout", forget]
    said = refused(monkeypatch, capsys, *given)
    assert "--holdout: 1 of the forget samples are in the holdout set as well" in said


def test_thresholds_are_of_their_text_alone(monkeypatch, capsys, folders, tmp_path) -> None:
    given = [folders["base"], "--benchmark", "tdec", "--calibrate", tmp_path / "text.txt", "--forget", 7]
    said = refused(monkeypatch, capsys, *given)
    assert "--forget: with --calibrate its text is measured alone. Leave it out." in said
