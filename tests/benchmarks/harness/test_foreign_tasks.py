"""Task files from a stranger are data: their Python is not run, and their templates come to an end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expunge.benchmarks.harness.declaration import HARNESS, HarnessOptions
from expunge.data.encoding import Encoder
from expunge.errors import InputError
from expunge.trust import trusting
from task_files import questions, write_task

FUNCTION = """
from pathlib import Path
Path({mark!r}).write_text("it was run")
def text(document):
    return document["question"]
"""


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


def opened(folder: Path, encoder: Encoder, name: str = "letters") -> object:
    return HARNESS.open(HarnessOptions(path=str(folder), forget=name), encoder)


def with_function(folder: Path, key: str, name: str) -> None:
    lines = [
        line for line in (folder / "letters.yaml").read_text().splitlines() if not line.startswith(f"{key}:")
    ]
    (folder / "letters.yaml").write_text("\n".join([*lines, f"{key}: !function {name}"]) + "\n")


@pytest.mark.parametrize("key", ["doc_to_text", "process_docs", "custom_dataset", "class"])
def test_a_function_beside_the_file(task_folder: Path, encoder: Encoder, mark: Path, key: str) -> None:
    (task_folder / "own.py").write_text(FUNCTION.format(mark=str(mark)))
    with_function(task_folder, key, "own.text")
    with pytest.raises(InputError) as refused:
        opened(task_folder, encoder)
    assert str(refused.value) == (
        "task letters: its file has the function 'own.text' run, and a file from anyone gives no leave to. Where you "
        "trust the folder, say so on the command line of this call: --trust-remote-code."
    )
    assert not mark.exists()


def test_the_users_word(task_folder: Path, encoder: Encoder, mark: Path) -> None:
    (task_folder / "own.py").write_text(FUNCTION.format(mark=str(mark)))
    with_function(task_folder, "doc_to_text", "own.text")
    with trusting(True):
        opened(task_folder, encoder)
    assert mark.exists()


def test_a_function_from_anywhere(task_folder: Path, encoder: Encoder) -> None:
    with_function(task_folder, "doc_to_text", "os.system")
    with pytest.raises(InputError, match=r"the function 'os\.system' run"):
        opened(task_folder, encoder)


def test_a_function_of_a_file_that_is_included(task_folder: Path, encoder: Encoder, mark: Path) -> None:
    beside = task_folder.parent / "beside"
    beside.mkdir()
    (beside / "own.py").write_text(FUNCTION.format(mark=str(mark)))
    (beside / "part.yaml").write_text("doc_to_text: !function own.text\n")
    (task_folder / "letters.yaml").write_text(
        (task_folder / "letters.yaml").read_text() + f"include: {beside / 'part.yaml'}\n"
    )
    with pytest.raises(InputError, match=r"the function 'own\.text' run"):
        opened(task_folder, encoder)
    assert not mark.exists()


@pytest.mark.parametrize("settings", [{}, {"hf_evaluate": True}])
def test_a_metric_whose_code_is_elsewhere(
    task_folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, settings: dict
) -> None:
    """The library `evaluate` runs a script of that name, from the hub or from a folder."""
    monkeypatch.setattr("evaluate.load", lambda name: pytest.fail("a script would have been run"))
    metric = {"metric": "organisation/own", "aggregation": "mean", "higher_is_better": True, **settings}
    write_task(task_folder, "letters", questions(3, seed=1), metric_list=[metric])
    with pytest.raises(InputError, match="--trust-remote-code"):
        opened(task_folder, encoder)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "rounds"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    ],
)
def test_a_template_that_would_not_end_or_gets_out(
    task_folder: Path, encoder: Encoder, template: str, reason: str
) -> None:
    """A document whose text is the template is text: only the task's own template is one."""
    rows = [{**row, "question": template} for row in questions(2, seed=1)]
    write_task(task_folder, "letters", rows)
    opened(task_folder, encoder)
    write_task(task_folder, "letters", questions(2, seed=1), doc_to_text=template)
    with pytest.raises(InputError, match=reason):
        opened(task_folder, encoder)
    assert json.loads((task_folder / "letters.jsonl").read_text().splitlines()[0])["question"] != template
