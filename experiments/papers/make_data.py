"""The papers' data, from what one can obtain, as the files that the shipped recipes and docs/papers.md name.

    python experiments/papers/make_data.py wikitext                                 # → data/wikitext.jsonl
    python experiments/papers/make_data.py wmdp                                     # → data/wmdp.jsonl
    python experiments/papers/make_data.py pile val.jsonl.zst                       # → data/unseen.jsonl
    python experiments/papers/make_data.py blended_skill_talk test.json
    python experiments/papers/make_data.py empathetic_dialogues test.csv
    python experiments/papers/make_data.py wizard_of_wikipedia test_random_split.json
    python experiments/papers/make_data.py wizard_of_internet test.jsonl

The four dialogue sets become `data/dialogue/NAME.jsonl`. `wikitext` and `wmdp` load from the hub; the others read a
file. Where each comes from:

pile                  the validation split of the Pile, or of its copy `monology/pile-uncopyrighted` on the hub
blended_skill_talk    https://parl.ai/downloads/blended_skill_talk/blended_skill_talk.tar.gz
empathetic_dialogues  https://parl.ai/downloads/empatheticdialogues/empatheticdialogues.tar.gz
wizard_of_wikipedia   https://parl.ai/downloads/wizard_of_wikipedia/wizard_of_wikipedia.tgz
wizard_of_internet    https://parl.ai/downloads/wizard_of_internet/wizard_of_internet.tgz

The papers leave open: which part of WikiText (here VILA's code: the test split of WikiText-2, lines of more than 50
characters), how many texts of the Pile (`--samples`, the first 1,000), and which replies of a dialogue are asked for
(here the last of each; two speakers in turn).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow

Rows = Iterator[dict[str, Any]]

#: Lines of WikiText and documents of WMDP up to so many characters are left out, as VILA's code does.
SHORT = 50
#: The most that any row of VILA's trains on: 500 steps of 4. Its code keeps 512 tokens of a document; of 500 none
#: becomes two samples when it is tokenised again.
WMDP_DOCUMENTS, WMDP_TOKENS = 2000, 500


def wikitext() -> Rows:
    from datasets import load_dataset

    rows = load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="test")
    return ({"text": text} for text in dict.fromkeys(row["text"] for row in rows) if len(text) > SHORT)


def wmdp() -> Rows:
    """The cyber and bio corpora together; the second is handed out on request: log in with an account that has it."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("HuggingFaceH4/zephyr-7b-beta")
    corpora = [
        load_dataset("cais/wmdp-corpora", "cyber-forget-corpus", split="train"),
        load_dataset("cais/wmdp-bio-forget-corpus", split="train"),
    ]
    texts = [row["text"] for corpus in corpora for row in corpus if len(row["text"]) > SHORT]
    random.Random(42).shuffle(texts)
    cut = tokenizer(
        texts[:WMDP_DOCUMENTS], truncation=True, max_length=WMDP_TOKENS, add_special_tokens=False
    )["input_ids"]
    return ({"text": text} for text in dict.fromkeys(tokenizer.batch_decode(cut)))


def pile(source: Path, samples: int | None) -> Rows:
    """Its texts, of JSON lines that may be compressed."""
    return ({"text": row["text"]} for row in itertools.islice(_lines(source), samples or 1000))


def blended_skill_talk(source: Path) -> Rows:
    """One JSON list; a dialogue begins with an utterance of each, and `dialog` holds [speaker, text] after them."""
    for row in json.loads(source.read_text(encoding="utf-8")):
        opening = [row["free_turker_utterance"], row["guided_turker_utterance"]]
        yield _dialogue([*opening, *(text for _, text in row["dialog"])])


def empathetic_dialogues(source: Path) -> Rows:
    """Lines of `conv_id,utterance_idx,context,prompt,speaker_idx,utterance,…`; a comma in a text is `_comma_`."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, quoting=csv.QUOTE_NONE)
        for _, turns in itertools.groupby(rows, key=lambda row: row["conv_id"]):
            ordered = sorted(turns, key=lambda row: int(row["utterance_idx"]))
            yield _dialogue([row["utterance"].replace("_comma_", ",") for row in ordered])


def wizard_of_wikipedia(source: Path) -> Rows:
    """One JSON list; `dialog` holds the turns in their order."""
    for row in json.loads(source.read_text(encoding="utf-8")):
        yield _dialogue([turn["text"] for turn in row["dialog"]])


def wizard_of_internet(source: Path) -> Rows:
    """JSON lines {number: dialogue}; of its history only what the two say to one another, not the searches."""
    spoken = ("Wizard => Apprentice", "Apprentice => Wizard")
    for row in _lines(source):
        for dialogue in row.values():
            yield _dialogue([turn["text"] for turn in dialogue["dialog_history"] if turn["action"] in spoken])


def _dialogue(turns: Iterable[str]) -> dict[str, Any]:
    """The turns as `expunge eval --benchmark dialogue` reads them: the last is the reply that is asked for.

    A turn without a word is left out: in the Wizard of the Internet some are empty.
    """
    return {"text": [spoken for turn in turns if (spoken := " ".join(turn.split()))]}


def _lines(source: Path) -> Rows:
    with pyarrow.input_stream(str(source)) as stream:  # which decompresses by the name's ending
        rest = b""
        while block := stream.read(1 << 20):
            *whole, rest = (rest + block).split(b"\n")
            yield from (json.loads(line) for line in whole if line.strip())
        if rest.strip():
            yield json.loads(rest)


DIALOGUES: dict[str, Callable[[Path], Rows]] = {
    "blended_skill_talk": blended_skill_talk,
    "empathetic_dialogues": empathetic_dialogues,
    "wizard_of_wikipedia": wizard_of_wikipedia,
    "wizard_of_internet": wizard_of_internet,
}


def write(rows: Iterable[dict[str, Any]], file: Path) -> int:
    """Write the rows but those without a reply (of a dialogue) or text, and say how many there are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = [
        row for row in rows if (row["text"].strip() if isinstance(row["text"], str) else len(row["text"]) > 1)
    ]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
    return len(kept)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["wikitext", "wmdp", "pile", *DIALOGUES])
    parser.add_argument("source", type=Path, nargs="?", help="the file, of what is not loaded from the hub")
    parser.add_argument("--samples", type=int, help="at most so many, the first ones")
    parser.add_argument("--folder", type=Path, default=Path("data"))
    given = parser.parse_args(arguments)
    if (given.source is None) != (given.what in ("wikitext", "wmdp")):
        parser.error(f"{given.what} {'needs a file' if given.source is None else 'is loaded from the hub'}")
    if given.what in DIALOGUES:
        file = given.folder / "dialogue" / f"{given.what}.jsonl"
        rows = itertools.islice(DIALOGUES[given.what](given.source), given.samples)
    elif given.what == "pile":
        file, rows = given.folder / "unseen.jsonl", pile(given.source, given.samples)
    else:
        file = given.folder / f"{given.what}.jsonl"
        rows = itertools.islice(wikitext() if given.what == "wikitext" else wmdp(), given.samples)
    print(f"{file}: {write(rows, file):,} rows")


if __name__ == "__main__":
    main()
