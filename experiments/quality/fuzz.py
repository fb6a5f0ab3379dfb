"""Recipes and data files by hypothesis: a sentence and exit code 2, or a right reading; nothing lost without a word.

    python experiments/quality/fuzz.py --recipes 300 --files 300

Every example is drawn from one seed. Recipes are read as `expunge validate` reads them, with overrides; files as the
forget set of a recipe, encoded under a chat template and without one. What is checked:

- nothing but `InputError` is raised, and each of its problems says where, what and what to do, in one line;
- of a file that is read, rows read + rows named as left out = rows there, and all text of a sample stands in the file.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import io
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from expunge.data.encoding import Encoder
from expunge.data.own_files import read_own_set
from expunge.data.samples import Conversation, QuestionAnswer, Text
from expunge.data.settings import OwnData
from expunge.data.templates import choose_template
from expunge.errors import InputError
from expunge.recipe.requests import load_requests

SEED = 11
CHECKS = settings(
    database=None,
    phases=[Phase.generate],
    deadline=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)

TEXTS = st.one_of(
    st.sampled_from(
        [
            "Ada.",
            "Who?",
            "",
            " ",
            "None",
            "7",
            "a;b",
            'say "so"',
            "two\nlines",
            "Zoë",
            "-",
            "<think>a</think>b",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
)
OTHERS = st.sampled_from(
    [None, 0, 7, 1.5, True, [], {}, ["a"], {"type": "text", "text": "a"}, [{"type": "image"}], "9" * 5000]
)
VALUES = st.one_of(TEXTS, TEXTS, TEXTS, OTHERS)
PARTS = st.lists(TEXTS.map(lambda text: {"type": "text", "text": text}), max_size=2)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "user", "assistant", "system", "tool", "human", "critic"])},
        optional={"content": st.one_of(TEXTS, TEXTS, PARTS, OTHERS), "weight": st.sampled_from([0, 1, 2, None]),
                  "name": TEXTS, "reasoning_content": TEXTS, "id": st.integers()},
    ),
    max_size=4,
)  # fmt: skip
CONVERSATIONS = st.lists(
    st.tuples(TEXTS, TEXTS).map(lambda pair: [{"from": "human", "value": pair[0]}, {"from": "gpt", "value": pair[1]}]),
    min_size=1, max_size=2,
).map(lambda pairs: [turn for pair in pairs for turn in pair])  # fmt: skip
ROWS = st.one_of(
    st.fixed_dictionaries({"question": TEXTS, "answer": VALUES}, optional={"context": VALUES}),
    st.fixed_dictionaries({"instruction": TEXTS, "output": TEXTS}, optional={"input": VALUES}),
    st.fixed_dictionaries(
        {"messages": st.one_of(MESSAGES, MESSAGES, OTHERS)}, optional={"system": VALUES, "tools": OTHERS}
    ),
    st.fixed_dictionaries({"conversations": CONVERSATIONS}),
    st.fixed_dictionaries({"text": VALUES}),
    st.dictionaries(TEXTS, VALUES, max_size=3),
    OTHERS,
)
KINDS = st.one_of(
    *[st.lists(kind, min_size=1, max_size=4) for kind in (
        st.fixed_dictionaries({"question": TEXTS, "answer": TEXTS}),
        st.fixed_dictionaries({"instruction": TEXTS, "output": TEXTS, "input": TEXTS}),
        st.fixed_dictionaries({"messages": MESSAGES}),
        st.fixed_dictionaries({"conversations": CONVERSATIONS}),
        st.fixed_dictionaries({"text": TEXTS}),
    )],
    st.lists(ROWS, max_size=4),
)  # fmt: skip
ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-le"]


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes, int]:
    """A name, its content, and how many rows the content holds (blank lines of a table are none)."""
    rows = draw(KINDS)
    ending = draw(st.sampled_from(["jsonl", "json", "csv", "tsv", "txt", "md", "JSONL"]))
    if ending in ("csv", "tsv"):
        tables = [row for row in rows if isinstance(row, dict)]
        columns = list(dict.fromkeys(name for row in tables for name in row))
        out = io.StringIO()
        separator = draw(st.sampled_from([",", ";", "\t", "|"]))
        writer = csv.writer(out, delimiter=separator)
        if draw(st.booleans()):
            out.write(f"sep={separator}\n")
        writer.writerow(columns)
        lines = [["" if row.get(name) is None else str(row.get(name)) for name in columns] for row in tables]
        writer.writerows(lines)
        text, count = out.getvalue(), sum(1 for line in lines if line)
    elif ending in ("txt", "md"):
        text, count = "\n".join(json.dumps(row) for row in rows), 1
    elif draw(st.booleans()):
        text, count = json.dumps(rows, ensure_ascii=draw(st.booleans())), len(rows)
    else:
        text, count = "".join(json.dumps(row) + "\n" for row in rows), len(rows)
    content = text.encode(draw(st.sampled_from(ENCODINGS)), errors="replace")
    if draw(st.integers(0, 9)) == 0:  # damaged: cut short, or a byte changed
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        content = content[:place] + draw(st.sampled_from([b"", b"\xff", b'"', b"\0"])) + content[place + 1 :]
        count = -1
    if draw(st.integers(0, 4)) == 0:
        return f"rows.{ending}.gz", gzip.compress(content), count
    return f"rows.{ending}", content, count


SCALARS = st.one_of(
    st.sampled_from(["010", "1:30", "9" * 5000, "-1", "1e-4", "yes", "null", "[1", "{", "2024-13-45", "!!python/none",
                     "&a *a", "a: b", "'x'", ".nan", ".inf", "0x10", "auto", "self", "ihl", "vila", "a" * 300]),
    st.integers(-3, 10**9).map(str), st.floats().map(str), st.text(max_size=8),
)  # fmt: skip
KEYS = st.sampled_from(
    ["model", "data", "training", "adapter", "objective", "evaluation", "seed", "name", "method", "stopping",
     "importance", "export", "output", "path", "forget", "retain", "holdout", "epochs", "rank", "learning_rate",
     "columns_of", "template", "format", "data.forget", "training.epochs", "fine-tune", "1", "", "a b"]
)  # fmt: skip


@st.composite
def recipes(draw: st.DrawFn) -> tuple[str, list[str]]:
    """The text of a recipe, whole or nearly, and overrides."""
    base = "model: {path: m}\ndata: {format: qa, forget: f.jsonl}\n"
    lines = [base] if draw(st.integers(0, 3)) else []
    for _ in range(draw(st.integers(0, 3))):
        key = draw(KEYS)
        inner = ", ".join(f"{draw(KEYS)}: {draw(SCALARS)}" for _ in range(draw(st.integers(1, 2))))
        lines.append(f"{key}: {draw(SCALARS) if draw(st.booleans()) else '{' + inner + '}'}\n")
    text = "".join(lines)
    if draw(st.integers(0, 19)) == 0:
        text = "x: " + "[" * 1000 + text
    return text, draw(st.lists(st.tuples(KEYS, SCALARS).map("=".join), max_size=2))


def check_sentences(error: InputError) -> None:
    """Every problem says where, what, and the way out, and none of it is Python's."""
    assert error.problems
    for problem in error.problems:
        said = str(problem)
        assert problem.reason.strip()
        assert problem.remedy.strip()
        assert "Traceback" not in said
        assert " object at 0x" not in said


def check_recipe(text: str, overrides: list[str], folder: Path, seen: Counter[str]) -> None:
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    try:
        loaded = load_requests(file, overrides)
    except InputError as error:
        check_sentences(error)
        seen["refused"] += 1
        return
    seen["read"] += 1
    # What was read is what the text says: no key of it is lost.
    given = yaml.safe_load(text)
    assert set(given) <= set(type(loaded).model_fields if hasattr(type(loaded), "model_fields") else given)


def check_file(
    name: str, content: bytes, count: int, folder: Path, encoders: list[Encoder], seen: Counter[str]
) -> None:
    file = folder / name
    file.write_bytes(content)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            samples, _ = read_own_set(str(file), OwnData(forget=str(file)), "data.forget")
    except InputError as error:
        check_sentences(error)
        seen["refused"] += 1
        return
    finally:
        file.unlink()
    seen["read"] += 1
    left_out = sum(
        int(number)
        for number in re.findall(r": (\d+) (?:of \d+ )?rows (?:of blank|have a blank)", said.getvalue())
    )
    if count >= 0:
        assert len(samples.samples) + left_out == count, (len(samples.samples), left_out, count)
    for sample in samples.samples:
        assert "{'" not in _said(sample) or b"{'" in _plain(content, name)  # Python's way to write an object
        for encoder in encoders:
            try:
                examples = sample.encode(encoder)
            except InputError as error:
                check_sentences(error)
                seen["refused when encoded"] += 1
                continue
            seen["encoded"] += 1
            if not isinstance(sample, Text):
                assert sum(example.label_count for example in examples) > 0


def _plain(content: bytes, name: str) -> bytes:
    return gzip.decompress(content) if name.endswith(".gz") else content


def _said(sample: Any) -> str:
    if isinstance(sample, QuestionAnswer):
        return sample.question + sample.answer
    return "".join(text for _, text in sample.turns) if isinstance(sample, Conversation) else sample.text


def fuzz(recipe_count: int, file_count: int, tokenizers: list[Any]) -> dict[str, Counter[str]]:
    """How many examples were read and refused. Raises on the first that is neither right nor a sentence."""
    seen: dict[str, Counter[str]] = {"recipes": Counter(), "files": Counter()}
    encoders = [Encoder(tokenizer, choose_template("auto", tokenizer)) for tokenizer in tokenizers]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _run(recipe_count, recipes(), lambda drawn: check_recipe(*drawn, folder, seen["recipes"]))
        _run(file_count, files(), lambda drawn: check_file(*drawn, folder, encoders, seen["files"]))
    return seen


def _run(count: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    @seed(SEED)
    @settings(CHECKS, max_examples=count)
    @given(strategy)
    def examples(drawn: Any) -> None:
        check(drawn)

    examples()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", type=int, default=300)
    parser.add_argument("--files", type=int, default=300)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    import tokenizer_families  # small tokenizers of the tests; nothing is downloaded

    seen = fuzz(options.recipes, options.files, [tokenizer_families.chat(), tokenizer_families.gpt2_like()])
    for name, counts in seen.items():
        print(f"{name}: {', '.join(f'{number} {what}' for what, number in sorted(counts.items()))}")


if __name__ == "__main__":
    main()
