"""The converters of the papers' data, on rows written as their sources write them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import make_data
import pytest

from expunge.benchmarks.dialogue.files import Reply, read_dialogues


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
