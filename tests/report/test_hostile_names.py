"""Names that a stranger chose: in the model card they are text, in the report nothing of them is run or fetched."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from expunge.report.card import write_model_card
from expunge.report.markdown import argument, code, prose
from expunge.report.page import write_report

HOSTILE = (
    "x\n\n<script>alert(1)</script><img src=x onerror=alert(1)>\r\n# Verified\n```\n"
    "![pixel](http://tracker.example/p.png) [click](javascript:alert(1)) | `rm -rf ~` \\ \u202egnp.exe\u2028$(id); id"
)


@pytest.fixture
def hostile_run(make_run: Callable[..., Path]) -> Path:
    run = make_run()
    state = json.loads((run / "run.json").read_text())
    state["name"] = HOSTILE
    state["model"] |= {"path": HOSTILE, "fingerprint": HOSTILE}
    state["data"]["forget"] |= {"source": HOSTILE, "hash": HOSTILE}
    (run / "run.json").write_text(json.dumps(state))
    content = yaml.safe_load((run / "recipe.yaml").read_text())
    content["model"]["adapters"] = [HOSTILE]
    (run / "recipe.yaml").write_text(yaml.safe_dump(content))
    return run


def test_the_model_card_shows_names_as_text(hostile_run: Path) -> None:
    text = write_model_card(hostile_run).read_text(encoding="utf-8")
    _, metadata, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert set(yaml.safe_load(metadata)) == {"library_name", "pipeline_tag", "tags"}
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    ours = "https://github.com/huggingface/peft"
    assert [link for link in re.findall(r"<(?:a|img|script|iframe)\b[^>]*", page) if ours not in link] == []
    assert "Verified" not in "".join(re.findall(r"<h\d>(.*?)</h\d>", page.split("</h1>", 1)[1]))
    assert page.count("<h1>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page  # it is shown
    for control in "\r\u202e\u2028":
        assert control not in text


def test_the_command_to_copy_is_one_command(make_run: Callable[..., Path]) -> None:
    run = make_run()
    state = json.loads((run / "run.json").read_text())
    state["model"]["path"] = HOSTILE
    (run / "run.json").write_text(json.dumps(state))
    (line,) = [
        line for line in write_model_card(run).read_text().splitlines() if line.startswith("vllm serve")
    ]
    words = shlex.split(line)
    assert words[:2] == ["vllm", "serve"]
    assert words[3] == "--enable-lora"


def test_the_report_runs_and_fetches_nothing(hostile_run: Path) -> None:
    page = write_report(hostile_run).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page.split("<style>")[0])
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.group(1).split(";"))
    assert rules == {
        "default-src": "'none'", "style-src": "'unsafe-inline'", "base-uri": "'none'", "form-action": "'none'"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("forget10.json", "forget10.json"),
        ("a_b*c: 95 % – x", "a_b*c: 95 % – x"),
        ("a | b", r"a \| b"),
        ("[a](b) `c` \\", r"\[a\](b) \`c\` \\"),
        ("1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"),
        ("a\n\t b\u2028c", "a b c"),
    ],
)
def test_prose(text: str, shown: str) -> None:
    assert prose(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("a/b", "`a/b`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("<a>\nb", "`<a> b`")]
)
def test_code(text: str, shown: str) -> None:
    assert code(text) == shown


def test_argument() -> None:
    assert argument("models/phi") == "models/phi"
    assert argument("a b; id\nid") == "'a b; id id'"
