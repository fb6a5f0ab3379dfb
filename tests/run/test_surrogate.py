"""`retain: self`: a small model writes its own retain set."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_two_processes import run
from transformers import PhiConfig, PhiForCausalLM

import expunge
import tokenizer_families
from expunge.cost.plan import plan
from expunge.data.rows import read_rows
from expunge.data.screening import Screen
from expunge.errors import InputError
from expunge.recipe import load_recipe
from expunge.run import attacked, epochs, surrogate, written
from expunge.run.job import Job
from expunge.storage import read_json
from tiny_models import random_model

WANTED = 12


def write_model(folder: Path, allowed: Sequence[str], end: float = 1.5) -> Path:
    """A random Phi whose output bias leaves it `allowed` tokens and <|endoftext|>; a greater `end` is a sooner one."""
    tokenizer = tokenizer_families.gpt2_like()
    random_model()  # seeds
    config = PhiConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = PhiForCausalLM(config)
    bias = model.lm_head.bias.data
    bias.fill_(-40.0)
    bias[0] = end
    for word in allowed:
        token, *rest = tokenizer(word)["input_ids"]
        assert not rest, f"{word!r} is several tokens"
        bias[token] = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = " Ada", " sea", " book", " wrote", " was", " the", " in", " of", " year", " by"
    return write_model(tmp_path_factory.mktemp("writer"), words)


def recipe_of(writer: Path, data_folder: Path, folder: Path) -> dict[str, Any]:
    return {
        "model": {"path": str(writer)},
        "data": {
            "format": "qa",
            "forget": str(data_folder / "forget.jsonl"),
            "retain": "self",
            "self_samples": WANTED,
            "self_folder": str(folder / "surrogate"),
            "max_length": 64,
        },
        "adapter": {"initialization": "factored", "rank": 2, "alpha": 4},
        "training": {"epochs": 1, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 1e-2, "warmup": 0},
        "evaluation": {"generate": "never"},
        "attacks": {"budget": "none"},
        "output": str(folder / "run"),
    }


@pytest.fixture
def own(writer: Path, data_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return recipe_of(writer, data_folder, tmp_path)


@pytest.fixture(scope="module")
def finished(writer: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> expunge.Run:
    return expunge.unlearn(recipe_of(writer, data_folder, tmp_path_factory.mktemp("finished")))


def adapter_bytes(run: expunge.Run) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def make_job(recipe: dict[str, Any], *overrides: str) -> Job:
    return Job(load_recipe(recipe, overrides), Path(recipe["output"]))


def sampled(recipe: dict[str, Any], *overrides: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The samples that a job of the recipe trains on and measures, and what it says about them."""
    job = make_job(recipe, *overrides)
    return read_rows(str(Path(job.surrogate.facts["folder"]) / "samples.jsonl"), ""), job.surrogate.facts


def sample_by(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    for module in (surrogate, written):
        monkeypatch.setattr(module, "sampled_continuations", function)


def test_the_same_seed_gives_the_same_samples_however_they_are_drawn(own, monkeypatch, tmp_path) -> None:
    first, facts = sampled(own)
    assert len(first) == WANTED == facts["samples"]
    assert len({tuple(row.values()) for row in first}) == WANTED
    assert facts["drawn"] == WANTED + sum(facts["rejected"].values())
    real = surrogate.sampled_continuations
    sample_by(monkeypatch, lambda *given, **named: real(*given, **named, tokens_per_batch=200))
    alone, same = sampled(own, f"data.self_folder={tmp_path / 'alone'}")
    assert alone == first
    assert {**same, "folder": ""} == {**facts, "folder": ""}
    more, _ = sampled(own, "data.self_samples=15")
    assert more[:WANTED] == first
    other, _ = sampled(own, "seed=1")
    assert not [row for row in other if row in first]


def test_sampled_once(own, monkeypatch, capsys) -> None:
    first, facts = sampled(own)
    assert not facts["reused"]
    sample_by(monkeypatch, None)
    again, same = sampled(own, "training.epochs=7", "adapter.initialization=default")
    assert again == first
    assert same == {**facts, "reused": True}
    assert f"{facts['folder']}, sampled before" in capsys.readouterr().err


def test_damaged_samples_are_named(own) -> None:
    _, facts = sampled(own)
    folder = Path(facts["folder"])
    rows, record = ((folder / name).read_text() for name in ("samples.jsonl", "surrogate.json"))
    (folder / "samples.jsonl").write_text(rows + rows)
    with pytest.raises(InputError, match=r"its SHA-256 is not the one in checksums\.json"):
        sampled(own)
    (folder / "samples.jsonl").write_text(rows)
    (folder / "checksums.json").unlink()  # as a folder of version 0.1.0 has none
    for name, content, reason in (
        ("surrogate.json", record[:20], "it cannot be read: "),
        ("surrogate.json", "{}", "it lacks samples, drawn, rejected."),
        ("samples.jsonl", rows.partition("\n")[2], f"it holds {WANTED - 1} samples, not {WANTED}."),
    ):
        (folder / "surrogate.json").write_text(record)
        (folder / name).write_text(content)
        with pytest.raises(InputError) as refused:
            sampled(own)
        (problem,) = refused.value.problems
        assert problem.where == str(folder / name)
        assert problem.reason.startswith(reason)
        assert problem.remedy.startswith(f"Delete {folder}")


@pytest.mark.parametrize(
    "change", ["seed=1", "data.self_samples=13", "data.max_length=60", "data.template=tofu-llama2"]
)
def test_sampled_anew_where_a_setting_is_another(own, monkeypatch, change) -> None:
    sampled(own)
    sample_by(monkeypatch, None)
    with pytest.raises(TypeError):
        sampled(own, change)


def test_sampled_anew_for_another_forget_set_and_another_model(own, monkeypatch, tmp_path) -> None:
    sampled(own)
    sample_by(monkeypatch, None)
    forget = tmp_path / "other.jsonl"
    forget.write_text(json.dumps({"question": "Who?", "answer": "Nobody."}) + "\n")
    other = write_model(tmp_path / "other", [" Ada", " sea"])
    own["adapter"]["initialization"] = "default"  # importance needs two samples
    for change in (f"data.forget={forget}", f"model.path={other}"):
        with pytest.raises(TypeError):
            sampled(own, change)


def test_what_repeats_the_forget_set_is_rejected(own, tmp_path) -> None:
    """With two of the answers that the model writes in the forget set, all that stays is what the screen lets pass."""
    first, facts = sampled(own)
    forgotten = sorted((row["answer"] for row in first), key=len)[-2:]
    assert all(len(answer.split()) > 4 for answer in forgotten)
    forget = tmp_path / "forget.jsonl"
    forget.write_text(
        "".join(json.dumps({"question": "Which?", "answer": answer}) + "\n" for answer in forgotten)
    )
    kept, now = sampled(own, f"data.forget={forget}")
    screen = Screen(["Which?", *forgotten])
    passing = [row for row in first if screen.objection(list(row.values())) is None]
    assert len(passing) <= WANTED - 2
    assert kept[: len(passing)] == passing
    assert len(kept) == WANTED
    assert now["rejected"]["repeats the forget set"] >= 2
    assert "repeats the forget set" not in facts["rejected"]
    assert all(screen.objection(list(row.values())) is None for row in kept)


def test_a_run_with_it_from_beginning_to_end(finished) -> None:
    state = finished.state
    facts = state["data"]["surrogate"]
    assert state["state"] == "done"
    assert list(state["phases"])[:3] == ["surrogate", "baseline", "importance"]
    assert state["phases"]["surrogate"]["seconds"] > 0
    assert state["phases"]["surrogate"]["flops"] > 0
    assert state["data"]["retain"]["source"] == "self (sampled from the original model)"
    assert state["data"]["retain"]["n"] == facts["samples"] == WANTED
    assert facts["held_out"] == finished.metrics["after"]["retain_probability"]["n"] == 2  # a fifth
    report = finished.report.read_text()
    rejected = facts["drawn"] - WANTED
    assert f"{facts['drawn']} drawn, {rejected} rejected" in report
    assert (
        f"{WANTED} samples that the original model wrote itself stood in for it, and utility was measured on 2"
        in (" ".join(report.split()))
    )
    assert "Sampling the retain set" in report


def test_later_attacks_see_the_samples(finished, monkeypatch, tmp_path, capsys) -> None:
    """As the run's own do, so that what it has measured is gone on with."""
    targets = []

    def noted(target, *_):
        targets.append(target)
        raise InputError([])

    monkeypatch.setattr(attacked, "run_attacks", noted)
    folder = Path(finished.state["data"]["surrogate"]["folder"])
    rows = read_rows(str(folder / "samples.jsonl"), "")
    with pytest.raises(InputError):
        attacked.attack_run(finished.path, ["merge"], "cheap")
    assert [item.sample.answer for item in targets[0].retain] == [row["answer"] for row in rows]
    folder.rename(tmp_path / "elsewhere")
    try:
        with pytest.raises(InputError):
            attacked.attack_run(finished.path, ["merge"], "cheap")
    finally:
        (tmp_path / "elsewhere").rename(folder)
    assert targets[1].retain == []
    assert f"is not in {folder} any more" in capsys.readouterr().err


def test_the_run_folder_shows_no_sample(finished) -> None:
    file = Path(finished.state["data"]["surrogate"]["folder"]) / "samples.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = read_rows(str(file), "")
    longest = max((row["answer"] for row in rows), key=len)
    assert len(longest.split()) > 4
    for name in ("run.json", "report.html", "README.md"):
        assert longest not in (finished.path / name).read_text()


def test_importance_and_training_see_the_samples(finished, own, monkeypatch) -> None:
    """Other samples, another importance and other weights."""
    real = surrogate.sampled_continuations

    def reseeded(model, tokenizer, prompts, seeds, limits, **named):
        return real(model, tokenizer, prompts, [(7, *seed) for seed in seeds], limits, **named)

    sample_by(monkeypatch, reseeded)
    other = expunge.unlearn(own)
    importance, reseeded_importance = (each.path / "importance.safetensors" for each in (finished, other))
    assert importance.read_bytes() != reseeded_importance.read_bytes()
    trained, reseeded = (
        sorted(each.path.glob("checkpoints/*/*.safetensors"))[-1] for each in (finished, other)
    )
    assert trained.read_bytes() != reseeded.read_bytes()


def test_stopped_while_sampling_and_in_training_and_gone_on_with(finished, own, monkeypatch) -> None:
    """The same weights as without; also where the samples have been thrown away in between."""

    def interrupted(*given: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    store = Path(own["data"]["self_folder"])
    monkeypatch.setattr(written, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        expunge.unlearn(own)
    monkeypatch.undo()
    assert not list(store.iterdir())
    assert not Path(own["output"]).exists()
    monkeypatch.setattr(epochs, "build_trainer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        expunge.unlearn(own)
    monkeypatch.undo()
    shutil.rmtree(store)
    resumed = expunge.unlearn(own, resume=True)
    assert adapter_bytes(resumed) == adapter_bytes(finished)
    assert resumed.metrics == finished.metrics
    assert len(list(store.iterdir())) == 1


def test_the_stored_samples_are_a_retain_set_of_their_own(own) -> None:
    """Named as a file they are held out and trained on alike."""
    itself = make_job(own)
    samples = str(Path(itself.surrogate.facts["folder"]) / "samples.jsonl")
    own["data"] = {"format": "qa", "forget": own["data"]["forget"], "max_length": 64, "retain": samples}
    job = make_job(own)
    assert job.retain == itself.retain
    assert job.benchmark.sets == itself.benchmark.sets
    assert job.data.retain.describe()["hash"] == itself.data.retain.describe()["hash"]
    assert job.surrogate is None


@pytest.mark.slow
def test_two_processes_write_the_samples_of_one(finished, own, tmp_path) -> None:
    path = run(tmp_path, own, "two", "-m", "torch.distributed.run", "--nproc_per_node", "2")
    facts = read_json(path / "run.json")["data"]["surrogate"]
    ours, theirs = (Path(each["folder"]) for each in (facts, finished.state["data"]["surrogate"]))
    for name in ("samples.jsonl", "surrogate.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_texts_and_conversations(own, tmp_path) -> None:
    (tmp_path / "book.txt").write_text("Ada was born in a town by the sea. " * 9)
    texts, _ = sampled(own, f"data.forget={tmp_path / 'book.txt'}", "data.format=auto", "data.max_length=16")
    assert {tuple(row) for row in texts} == {("text",)}
    own["adapter"]["initialization"] = "default"  # importance needs two samples
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody at all."}]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    own["data"]["format"] = "chat"
    rows, _ = sampled(own, f"data.forget={tmp_path / 'chat.jsonl'}")
    roles = {tuple(message["role"] for message in row["messages"]) for row in rows}
    assert roles == {("user", "assistant")}


def test_validate_says_how_many_without_sampling(own, monkeypatch) -> None:
    sample_by(monkeypatch, None)
    found = plan(own)
    assert found["retain_samples"] == WANTED
    assert f"{WANTED} to keep (sampled from the model itself when it runs)" in found["lines"][0]
    assert plan(own, ["data.self_samples=null"])["retain_samples"] == 200  # four for each of six are fewer


class TestWrongInput:
    def refuse(self, recipe: dict[str, Any], sentence: str, *overrides: str) -> None:
        with pytest.raises(InputError, match=sentence):
            expunge.unlearn(recipe, overrides)
        assert not Path(recipe["output"]).exists()

    def test_samples_for_a_retain_set_that_is_there(self, own, data_folder) -> None:
        self.refuse(
            own, "self_samples is for a retain set that the model writes", f"data.retain={data_folder}"
        )
        self.refuse(own, r"self_samples.*greater than or equal to 2", "data.self_samples=1")

    def test_retraining(self, own) -> None:
        own["method"] = {"name": "retrain", "base": own["model"]["path"]}
        self.refuse(own, "what they carry of the forget set would be learned anew")

    def test_several_requests(self, own, data_folder) -> None:
        own["data"]["forget"] = [own["data"]["forget"], str(data_folder / "retain.jsonl")]
        self.refuse(own, r"data\.retain: the model's own samples are screened against one forget set")

    def test_a_model_that_writes_nothing_else(self, own, tmp_path) -> None:
        """Two words, and all four pairs of them are to be forgotten: what is left are four samples of single words."""
        own["model"]["path"] = str(write_model(tmp_path / "narrow", [" sea", " book"], end=0.0))
        pairs = [f"{first} {second}" for first in ("sea", "book") for second in ("sea", "book")]
        forget = tmp_path / "forget.jsonl"
        forget.write_text(
            "".join(json.dumps({"question": "Which?", "answer": pair}) + "\n" for pair in pairs)
        )
        own["data"] |= {"forget": str(forget), "self_samples": 60}
        self.refuse(
            own, r"of 300 samples of the model itself 4 are fit .* duplicate, .* repeats the forget set"
        )
        assert not list((tmp_path / "surrogate").glob("*"))
