"""The converters of the papers' data, on rows written as their sources write them."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import tarfile
from pathlib import Path

import make_data
import pyarrow
import pytest

from expunge.benchmarks.dialogue.files import Reply, read_dialogues

PAGE = Path(__file__).parents[2] / "docs" / "papers-before.md"
#: A row of each published file with the fields that readers of it name (ParlAI's, and others on GitHub).
BLENDED = {
    "personas": [["I ski.", "I read."], ["I cook.", "I sing."]], "context_dataset": "wizard_of_wikipedia",
    "free_turker_utterance": "Hi!", "guided_turker_utterance": "Hello.", "additional_context": "Skiing",
    "dialog": [[0, "Do you ski?"], [1, "I cook."]],
    "suggestions": [{"convai2": "a", "empathetic_dialogues": "b", "wizard_of_wikipedia": "c"}],
    "suggestion_orders": [["convai2"]], "chosen_suggestions": [""], "workers": ["w1", "w2"], "bad_workers": [],
    "hit_ids": ["h1", "h2"], "assignment_ids": ["a1", "a2"],
}  # fmt: skip
EMPATHETIC = """conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags
hit:0_conv:0,1,sad,I lost "Rex"_comma_ my dog,3,My "dog" ran_comma_ and ran.,5|5|5_2|2|5,
hit:0_conv:0,2,sad,I lost "Rex"_comma_ my dog,4,Oh no.,5|5|5_2|2|5,,one_comma_ two|a_pipe_b
"""
WIKIPEDIA = {
    "chosen_topic": "Bee", "persona": "I like bees.", "wizard_eval": 5, "chosen_topic_passage": ["Bees are insects."],
    "dialog": [
        {"speaker": "1_Apprentice", "text": "Bees?", "retrieved_passages": [{"Bee": ["Bees are insects."]}],
         "retrieved_topics": ["Bee"]},
        {"speaker": "0_Wizard", "text": "They fly.", "checked_sentence": {"chosen_Bee_0": "Bees are insects."},
         "checked_passage": {"chosen_topic_0_Bee": "Bee"},
         "retrieved_passages": [{"Bee": ["Bees are insects."]}], "retrieved_topics": ["Bee"]},
    ],
}  # fmt: skip
PAGE_FOUND = {"url": "https://example.org", "title": "Bee", "content": ["Bees fly."]}
NOTHING = {"contents": [], "selected_contents": [[True]]}
INTERNET = {
    "7": {
        "apprentice_persona": "I like bees.\nI like honey.",
        "dialog_history": [
            {"action": "Wizard => Apprentice", "text": "", "context": NOTHING},
            {"action": "Apprentice => Wizard", "text": "Bees?", "context": {}},
            {"action": "Wizard => SearchAgent", "text": "bees", "context": NOTHING},
            {"action": "SearchAgent => Wizard", "text": "", "context": {"contents": [PAGE_FOUND]}},
            {"action": "Wizard => Apprentice", "text": "They fly.",
             "context": {"contents": [PAGE_FOUND], "selected_contents": [[False], [True]]}},
        ],
    }
}  # fmt: skip
#: What ParlAI's archives hold of what the page's commands name, and the Pile's file.
PUBLISHED = {
    "blended_skill_talk/test.json": json.dumps([BLENDED]),
    "empatheticdialogues/test.csv": EMPATHETIC,
    "wizard_of_wikipedia/test_random_split.json": json.dumps([WIKIPEDIA]),
    "wizard_of_internet/test.jsonl": json.dumps(INTERNET) + "\n",
    "val.jsonl.zst": json.dumps({"text": "é\u2028 text", "meta": {"pile_set_name": "Pile-CC"}}) + "\n",
}


def test_the_pages_commands_convert_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each set as it lies in its archive, unpacked, by the command that the page gives for it."""
    monkeypatch.chdir(tmp_path)
    for name, content in PUBLISHED.items():
        if name.endswith(".zst"):
            with pyarrow.output_stream(name) as stream:
                stream.write(content.encode())
            continue
        Path("test").write_text(content, encoding="utf-8")
        with tarfile.open("set.tar.gz", "w:gz") as archive:
            archive.add("test", name)
        with tarfile.open("set.tar.gz") as archive:
            archive.extract(name, filter="data")
    lines = re.findall(
        r"^python experiments/papers/make_data.py (.+)$", PAGE.read_text(encoding="utf-8"), re.M
    )
    convert = [words for words in map(shlex.split, lines) if len(words) > 1]
    assert {source for _, source in convert} == PUBLISHED.keys()
    for words in convert:
        make_data.main(words)
    bees = [Reply("User 1: Bees?\nUser 2:", "They fly.")]
    assert read_dialogues("data/dialogue", "--data") == {
        "blended_skill_talk": [Reply("User 1: Hi!\nUser 2: Hello.\nUser 1: Do you ski?\nUser 2:", "I cook.")],
        "empathetic_dialogues": [Reply('User 1: My "dog" ran, and ran.\nUser 2:', "Oh no.")],
        "wizard_of_internet": bees,
        "wizard_of_wikipedia": bees,
    }
    assert json.loads(Path("data/unseen.jsonl").read_text(encoding="utf-8")) == {"text": "é\u2028 text"}


def replies(folder: Path, what: str, content: str) -> list[Reply]:
    """What `expunge eval --benchmark dialogue` reads of the file that the converter writes."""
    source = folder / "source"
    source.write_text(content, encoding="utf-8")
    make_data.main([what, str(source), "--folder", str(folder)])
    return read_dialogues(str(folder / "dialogue"), "--data")[what]


def test_blended_skill_talk(tmp_path: Path) -> None:
    row = {
        "personas": [["I ski."], ["I cook."]], "free_turker_utterance": "Hi!\n", "guided_turker_utterance": "Hello.",
        "dialog": [[0, "Do you ski?"], [1, "I cook."]],
    }  # fmt: skip
    assert replies(tmp_path, "blended_skill_talk", json.dumps([row])) == [
        Reply("User 1: Hi!\nUser 2: Hello.\nUser 1: Do you ski?\nUser 2:", "I cook.")
    ]


def test_empathetic_dialogues(tmp_path: Path) -> None:
    lines = [
        "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags",
        'hit:0,1,sad,lost,3,My "dog" ran_comma_ and ran.,5|5,',
        "hit:0,2,sad,lost,4,Oh no.,5|5,,cand|cand",
        "hit:1,1,glad,won,3,Alone.,5|5,",
        "hit:2,1,glad,won,3,I won.,5|5,",
        "hit:2,2,glad,won,4,Great_comma_ tell me!,5|5,",
    ]
    assert replies(tmp_path, "empathetic_dialogues", "\n".join(lines)) == [
        Reply('User 1: My "dog" ran, and ran.\nUser 2:', "Oh no."),
        Reply("User 1: I won.\nUser 2:", "Great, tell me!"),
    ]


def test_the_wizards(tmp_path: Path) -> None:
    turns = [{"speaker": "1_Apprentice", "text": "Bees?"}, {"speaker": "0_Wizard", "text": "They fly."}]
    expected = [Reply("User 1: Bees?\nUser 2:", "They fly.")]
    assert replies(tmp_path, "wizard_of_wikipedia", json.dumps([{"dialog": turns}])) == expected
    history = [
        {"action": "Apprentice => Wizard", "text": "Bees?"},
        {"action": "Wizard => SearchAgent", "text": "bees"},
        {"action": "SearchAgent => Wizard", "text": ""},
        {"action": "Wizard => Apprentice", "text": "They fly."},
    ]
    line = json.dumps({"7": {"apprentice_persona": "I like bees.", "dialog_history": history}})
    assert replies(tmp_path, "wizard_of_internet", f"{line}\n{line}") == 2 * expected


def test_the_first_texts_of_the_pile_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gzip.open(tmp_path / "val.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(
            json.dumps({"text": f"é {number} " * 40_000, "meta": {}}) + "\n" for number in range(9)
        )
    make_data.main(
        ["pile", str(tmp_path / "val.jsonl.gz"), "--samples", "5", "--folder", str(tmp_path / "d")]
    )
    rows = [json.loads(line) for line in (tmp_path / "d" / "unseen.jsonl").read_text().splitlines()]
    assert rows == [{"text": f"é {number} " * 40_000} for number in range(5)]


def test_a_file_is_asked_for_where_one_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in ((["pile"], "pile needs a file"), (["wmdp", "x"], "is loaded from the hub")):
        with pytest.raises(SystemExit):
            make_data.main(arguments)
        assert said in capsys.readouterr().err
