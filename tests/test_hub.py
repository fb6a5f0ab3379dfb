"""What is sent to the hub: plain names alone, never a path that was mistyped; and the record of it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

import expunge
from expunge.benchmarks.muse.files import read_split
from expunge.benchmarks.tofu.files import load_questions
from expunge.data.rows import read_rows
from expunge.errors import InputError
from expunge.hub import ask, is_hub_id, offline, recording
from expunge.models import loading
from expunge.models.loading import load_config
from expunge.models.settings import Model
from expunge.run.finetune import finetune_recipe
from expunge.storage import read_json

IDS = ["locuslab/TOFU", "meta-llama/Llama-3.2-1B", "muse-bench/MUSE-News", "a/b", "01-ai/Yi_6B.v2"]
NO_IDS = [
    "models", "models/", "/models/x", "./models/x", "../x", "~/x", "models/a/b", "models//b", "models\\b", "a b/c",
    "a/b c", "a/b?", "a/b:c", "-a/b", "a/.b", "a/b.", "a/b-", "data/forget.jsonl", "data/FORGET.CSV", "a/é", "a/b\n",
    "a/" + "x" * 97, "", "C:/x",
]  # fmt: skip


@pytest.fixture
def nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "data").mkdir()
    for name in ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"):
        monkeypatch.setattr(
            getattr(loading, name), "from_pretrained", lambda *_, **__: pytest.fail("the hub was asked")
        )
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("the hub was asked"))


@pytest.mark.parametrize("name", IDS)
def test_plain_names(name: str) -> None:
    assert is_hub_id(name)


@pytest.mark.parametrize("name", NO_IDS)
def test_what_is_no_plain_name(name: str) -> None:
    assert not is_hub_id(name)


@pytest.mark.usefixtures("nothing_is_asked")
@pytest.mark.parametrize("name", ["models/tofu-tny", "data/toufu", *NO_IDS[:4], "data/forget.jsonl"])
def test_a_mistyped_path_is_never_asked_for(name: str) -> None:
    """`models/tofu-tny` has the form of a name, but there is a folder `models` here."""
    with pytest.raises(InputError):
        load_config(Model(path=name if name != "models" else "modells"))
    for read in (
        lambda: read_rows(f"{name}:train", "data.forget"),
        lambda: load_questions(f"{name}x", "forget10"),
        lambda: read_split(f"{name}x", "raw/forget", ("text",)),
    ):
        with pytest.raises(InputError):
            read()


def test_offline_is_named_and_what_was_asked_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect")

    monkeypatch.setattr(loading.AutoConfig, "from_pretrained", refuse)
    monkeypatch.setattr("datasets.load_dataset", refuse)
    wanted: list[Any] = [
        lambda: load_config(Model(path="organisation/model")),
        lambda: read_rows("organisation/data:train", "data.forget"),
    ]
    for variable, value in (("HF_HUB_OFFLINE", "1"), ("HF_HUB_OFFLINE", "0")):
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, value)
        with recording() as asked:
            for want in [*wanted, wanted[0]]:
                with pytest.raises(InputError) as refused:
                    want()
                assert ("HF_HUB_OFFLINE is set" in str(refused.value)) is (value == "1")
        assert asked == (
            [] if value == "1" else ["model organisation/model", "data set organisation/data:train"]
        )
    assert offline() is None
    with recording() as whole:
        ask("model", "a/b")
        with recording() as part:
            ask("model", "c/d")
            ask("model", "a/b")
    assert (whole, part) == (["model a/b", "model c/d"], ["model c/d", "model a/b"])
    ask("model", "outside/of-a-run")  # nobody listens, and nothing is kept


def test_a_run_on_local_files_asks_nobody(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By its record, and by what it does."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, lambda *_: pytest.fail("the network was used"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was used"))
    assert expunge.unlearn(recipe).state["network"] == []


def test_what_a_run_asked_for_is_in_its_record(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A model that is had from the hub: here from a folder that stands for it. So with several requests, and with a
    finetuning."""
    folder, place = recipe["model"]["path"], "organisation/model"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"):
        real = getattr(loading, name).from_pretrained
        monkeypatch.setattr(
            getattr(loading, name), "from_pretrained",
            lambda path, *more, real=real, **options: real(folder if path == place else path, *more, **options),
        )  # fmt: skip
    recipe["model"] = {"path": place}
    assert expunge.unlearn(recipe, output=tmp_path / "run").state["network"] == [f"model {place}"]
    rows = Path(recipe["data"]["forget"]).read_text().splitlines(keepends=True)
    parts = [tmp_path / f"{part}.jsonl" for part in (1, 2)]
    for part, lines in zip(parts, (rows[:2], rows[2:4]), strict=True):
        part.write_text("".join(lines))
    several = {**recipe, "data": {**recipe["data"], "forget": [str(part) for part in parts]}}
    few = ["training.epochs=1", "evaluation.generate=never", "attacks.budget=none"]
    assert expunge.unlearn(several, few, output=tmp_path / "several").state["network"] == [f"model {place}"]
    tuned = finetune_recipe(recipe, few, on="retain", output=tmp_path / "model").path
    assert read_json(tuned / "finetune.json")["network"] == [f"model {place}"]
