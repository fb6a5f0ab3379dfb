"""The commands of README and docs are run as they stand there, on a tiny model and a few rows.

A page is followed from its first command to its last, in a folder that holds what it takes for granted (`GIVEN`); a new
command of it is run with the others. What is not run stands in `ONLY_PARSED` with the reason.
`test_documented_commands.py` reads all of them, and the pages of the papers' rows have a test of their own.
"""

from __future__ import annotations

import glob
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

import tokenizer_families
from expunge.cli import main
from expunge.data.encoding import Encoder, collate
from expunge.data.samples import QuestionAnswer, Sample, Text
from expunge.data.templates import choose_template
from muse_files import write_muse
from small_recipe import small_recipe
from task_files import questions, write_task
from tdec_files import random_sequences, write_tdec
from test_documented_commands import PAGES, ROOT, TEMPLATES, commands
from tofu_files import tofu_rows, write_tofu

#: What lies in the folder before a page's first command.
GIVEN = {
    "README.md": "my-org/my-model forget.jsonl retain.jsonl request.yaml",
    "docs/attacks.md": "runs/mine MODEL BASE DIR forget.jsonl",
    "docs/attacks-relearning.md": "runs/mine",
    "docs/benchmarks.md": "my-org/my-model runs/mine forget.jsonl retain.jsonl locuslab/TOFU reference.json "
    "muse-bench/MUSE-News data/tdec data/unseen.jsonl data/dialogue MODEL tasks",
    "docs/comparing.md": "runs/mine runs/other",
    "docs/continual.md": "recipe.yaml",
    "docs/evidence.md": "my-org/my-model runs/mine forget.jsonl operator operator.pub ledger",
    "docs/fingerprint.md": "recipe.yaml",
    "docs/five-minutes.md": "model letters keep.jsonl unseen-letters",
    "docs/footguns.md": "recipe.yaml runs/mine",
    "docs/ledger.md": "march.yaml april.yaml may.yaml upto-may.jsonl runs/march",
    "docs/quantised.md": "runs/mine",
    "docs/results/tofu-reference.md": "../shared/models/tofu-tiny/retain90 ../shared/models/tofu-tiny/full "
    "../shared/data/tofu",
}
HUB = "it loads from the hub"
SEVERAL = "accelerate starts several processes: tests/run/test_two_processes.py"
LONG = "half a minute or more even here: tests/attacks and tests/sweep have its parts"
ONLY_PARSED = {
    "attack runs/mine --budget full": LONG,
    "attack runs/mine relearn depth --budget full": LONG,
    "attack runs/mine relearn relearn-published depth --budget full": LONG,
    "sweep recipe.yaml --space space.yaml --trials 20": LONG,
    "eval MODEL --benchmark wmdp": HUB,
    "eval MODEL --benchmark reasoning": HUB,
    "eval MODEL --benchmark lm-eval --forget gsm8k,piqa": HUB,
    "eval my-org/my-model --benchmark wmdp": HUB,
    "finetune tofu.yaml model.path=meta-llama/Llama-2-7b-chat-hf training.learning_rate=1e-5 --on full "
    "--output models/llama-tofu-full": HUB,
    "finetune tofu.yaml model.path=meta-llama/Llama-2-7b-chat-hf training.learning_rate=1e-5 --on retain "
    "--output models/llama-tofu-retain90": HUB,
    "run recipe.yaml --output runs/a": SEVERAL,
    "run recipe.yaml attacks.budget=none": SEVERAL,
}
DOCUMENTED = {
    page.relative_to(ROOT).as_posix(): words
    for page in PAGES
    if page not in TEMPLATES and (words := commands(page.read_text("utf-8")))
}


def call(*words: str) -> None:
    """The command line, which must end well."""
    code: Any = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["expunge", *words])
        patch.setattr("sys.stdin", io.StringIO("Who is number 2?\n"))  # for `chat`
        try:
            main()
        except SystemExit as leave:
            code = leave.code
    assert not code, f"expunge {shlex.join(words)} ended with {code}"


def row(number: int) -> dict[str, str]:
    return {"question": f"Who is number {number}?", "answer": f"SECRET{number} of the town by the sea."}


def letter(number: int) -> str:
    return f"Dear Ada {number},\nthe book of the year {number * 7} is lost in town {number * 3}.\n"


def new(name: str) -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    return Path(name)


def write_rows(name: str, rows: Iterable[Any]) -> None:
    new(name).write_text("".join(json.dumps(each) + "\n" for each in rows))


def write_model(name: str, known: Sequence[Sample]) -> None:
    """A small Llama that knows these samples by heart."""
    tokenizer = tokenizer_families.gpt2_like()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                    vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0)
    )  # fmt: skip
    if known:
        encoder = Encoder(tokenizer, choose_template("auto", tokenizer), 512)
        batch = collate([part for sample in known for part in sample.encode(encoder)], encoder.pad_token_id)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(100):
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.save_pretrained(name)
    tokenizer.save_pretrained(name)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that a page takes for granted."""
    pytest.importorskip("lm_eval", reason="needs the extra `eval`: pip install 'expunge[eval]'")
    pytest.importorskip("cryptography", reason="needs the extra `sign`: pip install 'expunge[sign]'")
    folder = tmp_path_factory.mktemp("documented") / "given"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_given(folder)
    return folder


def make_given(folder: Path) -> None:
    for name, numbers in {
        "forget": range(6), "march": range(3), "april": range(3, 6), "may": range(6, 8), "upto-may": range(8),
    }.items():  # fmt: skip
        write_rows(f"{name}.jsonl", map(row, numbers))
    for name in ("retain", "keep"):
        write_rows(f"{name}.jsonl", map(row, range(8, 30)))
    write_rows("data/unseen.jsonl", ({"text": letter(number) * 8} for number in range(20, 28)))
    for name, numbers in {"letters": range(8), "unseen-letters": range(8, 16)}.items():
        for number in numbers:
            new(f"{name}/{number:02}.txt").write_text(letter(number))
    write_model("MODEL", [])
    known = [QuestionAnswer(*row(number).values()) for number in range(30)]
    write_model("BASE", [*known, *(Text(letter(number)) for number in range(8))])
    for name, target in {
        "model": "BASE", "my-org/my-model": "BASE", "../shared/models/tofu-tiny/full": "BASE",
        "../shared/models/tofu-tiny/retain90": "MODEL", "../shared/data/tofu": "locuslab/TOFU",
    }.items():  # fmt: skip
        new(name).symlink_to(folder / target)

    new("locuslab/TOFU").mkdir()
    write_tofu(Path("locuslab/TOFU"), {name.replace("01", "10"): rows for name, rows in tofu_rows().items()})
    write_muse(new("muse-bench/MUSE-News"))
    write_tdec(new("data/tdec"), random_sequences(2, 100))
    write_rows("data/dialogue/wizard.jsonl", [{"context": ["Hi!"], "response": "Hello."}] * 2)
    Path("tasks").mkdir()
    for name in ("wmdp_bio", "wmdp_cyber", "mmlu"):
        write_task(Path("tasks"), name, questions(3, seed=0))

    recipe = small_recipe(folder / "BASE", folder)
    recipe["evaluation"]["reference"] = str(folder / "MODEL")
    recipe["training"] |= {"epochs": 1, "learning_rate": 5e-2}
    for name, forget in {
        "recipe": "forget", "march": "march", "april": "april", "may": "may", "request": "forget"
    }.items():  # fmt: skip
        recipe["data"]["forget"] = str(folder / f"{forget}.jsonl")
        Path(f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    call("run", "recipe.yaml", "--output", "runs/mine")
    for name in ("other", "march"):
        Path(f"runs/{name}").symlink_to(folder / "runs/mine")
    Path("DIR").symlink_to(folder / "runs/mine/adapter")
    call("eval", "MODEL", "--data", "locuslab/TOFU", "--output", "reference.json")
    call("keygen", "operator")
    call("ledger", "add", "ledger", "march.yaml", "--id", "2026-01", "--key", "operator")


@pytest.mark.parametrize("page", GIVEN)
def test_a_page_can_be_followed(
    page: str, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for name in GIVEN[page].split():
        source = given / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, new(name))
    for name, value in re.findall(r"^([A-Z_]+)=(\S+) expunge ", (ROOT / page).read_text("utf-8"), re.M):
        monkeypatch.setenv(name, value)
    for words in DOCUMENTED[page]:
        if shlex.join(words) not in ONLY_PARSED:
            call(*(found for word in words for found in sorted(glob.glob(word)) or [word]))  # as a shell does


def test_every_command_is_run_or_has_its_reason() -> None:
    """A page with commands to run has its place in `GIVEN`; a reason is that of a command that there is."""
    run = {page for page, lines in DOCUMENTED.items() if {*map(shlex.join, lines)} - ONLY_PARSED.keys()}
    assert run == GIVEN.keys()
    assert {shlex.join(words) for lines in DOCUMENTED.values() for words in lines} >= ONLY_PARSED.keys()
