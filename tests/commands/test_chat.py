"""`expunge chat`: what each model of a run writes, in the terminal, as JSON, and on a page of this machine."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge import Run, unlearn
from expunge.cli import main
from expunge.run import chat_page
from expunge.run.conversation import Conversation
from small_recipe import small_recipe

QUESTION = "Who is number 2?"


@pytest.fixture(scope="module")
def run(
    model_folder: Path, random_model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """With a reference model, which was taught nothing."""
    recipe = small_recipe(model_folder, data_folder)
    recipe["evaluation"]["reference"] = str(random_model_folder)
    recipe["objective"] = {"forget": "ga"}
    recipe["training"] |= {"epochs": 1, "batch_size": 1, "micro_batch_size": 1, "learning_rate": 2e-2}
    return unlearn(recipe, output=tmp_path_factory.mktemp("chat") / "run")


@pytest.fixture(scope="module")
def conversation(run: Run) -> Conversation:
    return Conversation(run.path)


def greedy(model: Any, folder: Path, tokens: int) -> str:
    """The likeliest token after another, one pass a token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(f"Question: {QUESTION}\nAnswer:")["input_ids"]
    start = len(ids)
    with torch.no_grad():
        for _ in range(tokens):
            following = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if following == tokenizer.eos_token_id:
                break
            ids.append(following)
    return tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


def test_each_model_writes_what_it_writes_alone(
    run: Run, conversation: Conversation, model_folder: Path, random_model_folder: Path
) -> None:
    alone = {
        "original": AutoModelForCausalLM.from_pretrained(model_folder),
        "unlearned": run.model(),
        "reference": AutoModelForCausalLM.from_pretrained(random_model_folder),
    }
    answers = conversation.ask(QUESTION, max_new_tokens=12)
    assert answers == {name: greedy(model, model_folder, 12) for name, model in alone.items()}
    assert "SECRET2" in answers["original"]
    assert answers["original"] != answers["unlearned"]


def test_drawn_answers_come_back_and_differ_with_the_temperature(conversation: Conversation) -> None:
    cold, hot, again = (conversation.ask(QUESTION, 12, temperature) for temperature in (0.01, 5.0, 5.0))
    assert hot == again
    assert hot != cold == conversation.ask(QUESTION, 12)


def call(monkeypatch: pytest.MonkeyPatch, run: Run, *options: str, typed: str = "") -> int:
    monkeypatch.setattr("sys.argv", ["expunge", "chat", str(run.path), *options])
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def test_questions_are_read_until_the_input_ends(monkeypatch, capsys, run: Run) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    typed = f"{QUESTION}\n\nWho is number [red]7[/red]?"
    assert call(monkeypatch, run, "--max-new-tokens", "12", typed=typed) == 0
    printed = capsys.readouterr().out
    assert "Who is number [red]7[/red]?" in printed
    head = next(line for line in printed.splitlines() if "original" in line)
    assert head.index("original") < head.index("unlearned") < head.index("reference")
    assert printed.count("┏") == 2
    assert "SECRET2" in printed


def test_one_question_as_json(monkeypatch, capsys, run: Run, conversation: Conversation) -> None:
    assert call(monkeypatch, run, "--question", QUESTION, "--max-new-tokens", "12", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"question": QUESTION, "answers": conversation.ask(QUESTION, 12)}
    assert call(monkeypatch, run, "--json") == 2
    assert call(monkeypatch, run, "--web", "--question", QUESTION) == 2


def test_without_gradio_a_page_is_refused_before_anything_is_loaded(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert call(monkeypatch, Run(tmp_path), "--web") == 2
    assert "pip install 'expunge[web]'" in capsys.readouterr().err


def test_the_page_is_of_this_machine_alone_and_reports_nothing(monkeypatch, conversation) -> None:
    """Against what Gradio would be called with; the columns get the answers in their order."""
    done: dict[str, Any] = {}

    class Page:
        def __init__(self, **options: Any):
            done["page"] = options

        def __enter__(self) -> Page:
            return self

        def __exit__(self, *_: object) -> None: ...

        def launch(self, **options: Any) -> None:
            done["launch"] = options

    class Textbox:
        def __init__(self, **options: Any):
            done.setdefault("labels", []).append(options["label"])

        def submit(self, answer: Any, *_: Any, **options: Any) -> None:
            done["answers"], done["endpoint"] = answer(QUESTION), options

    @contextmanager
    def row() -> Any:
        yield

    gradio = SimpleNamespace(
        Blocks=Page, Textbox=Textbox, Row=row, themes=SimpleNamespace(Base=lambda **fonts: fonts)
    )
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    assert chat_page.load_gradio() is gradio
    assert chat_page.os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    chat_page.serve(gradio, "a run", list(conversation.voices), lambda asked: conversation.ask(asked, 12))
    assert done["launch"]["server_name"] == "127.0.0.1"
    assert done["launch"]["share"] is False
    assert done["page"]["analytics_enabled"] is False
    assert done["labels"] == ["Question", "original", "unlearned", "reference"]
    assert done["answers"] == list(conversation.ask(QUESTION, 12).values())
