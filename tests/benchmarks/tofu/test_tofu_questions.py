from __future__ import annotations

import json

import pytest

from expunge.benchmarks.tofu.files import load_questions
from expunge.errors import InputError
from tofu_files import tofu_rows, write_tofu


def problems(path, forget="forget01") -> list[str]:
    with pytest.raises(InputError) as caught:
        load_questions(path, forget)
    return [str(problem) for problem in caught.value.problems]


def test_reads_every_column(tmp_path):
    rows = tofu_rows()
    sets = load_questions(write_tofu(tmp_path, rows), "forget01")
    assert [len(part) for part in sets.values()] == [3, 2, 2, 3]
    raw, question = rows["forget01_perturbed.json"][2], sets["forget"][2]
    assert (question.question, question.answer) == (raw["question"], raw["answer"])
    assert question.paraphrased == raw["paraphrased_answer"]
    assert list(question.perturbed) == raw["perturbed_answer"]
    assert sets["world_facts"][0].paraphrased is None


def test_missing_files_are_named_all_at_once(tmp_path):
    write_tofu(tmp_path)
    (tmp_path / "retain_perturbed.json").unlink()
    first, second = problems(tmp_path, "forget05")
    assert f"{tmp_path}/forget05_perturbed.json: the file is missing." in first
    assert "forget01_perturbed" in first  # what there is instead
    assert "retain_perturbed.json" in second


def test_every_bad_row_is_named(tmp_path):
    rows = tofu_rows()
    del rows["forget01_perturbed.json"][1]["answer"]
    del rows["retain_perturbed.json"][0]["paraphrased_answer"]
    rows["real_authors_perturbed.json"][0]["perturbed_answer"] = "w3 w4"
    rows["real_authors_perturbed.json"].append(["w3"])
    rows["world_facts_perturbed.json"][2]["perturbed_answer"] = []
    found = problems(write_tofu(tmp_path, rows))
    expected = [
        ("forget01_perturbed.json, row 2", "column 'answer' is missing"),
        ("retain_perturbed.json, row 1", "column 'paraphrased_answer' is missing"),
        ("real_authors_perturbed.json, row 1", "'perturbed_answer' is missing or is not a list"),
        ("real_authors_perturbed.json, row 3", "the row is not an object"),
        ("world_facts_perturbed.json, row 3", "'perturbed_answer' is missing or is not a list"),
    ]
    assert len(found) == len(expected)
    for sentence, (where, reason) in zip(found, expected, strict=True):
        assert where in sentence
        assert reason in sentence


def test_an_empty_text_is_refused(tmp_path):
    """An empty answer has the likelihood of EOS alone, and a ROUGE of 0 whatever is generated."""
    rows = tofu_rows()
    rows["forget01_perturbed.json"][2]["answer"] = ""
    rows["forget01_perturbed.json"][2]["paraphrased_answer"] = " "
    rows["retain_perturbed.json"][0]["question"] = "\n"
    rows["world_facts_perturbed.json"][1]["perturbed_answer"][0] = ""
    assert [sentence.partition(" Restore")[0] for sentence in problems(write_tofu(tmp_path, rows))] == [
        f"{tmp_path}/forget01_perturbed.json, row 3: the 'answer' is empty.",
        f"{tmp_path}/forget01_perturbed.json, row 3: the 'paraphrased_answer' is empty.",
        f"{tmp_path}/retain_perturbed.json, row 1: the 'question' is empty.",
        f"{tmp_path}/world_facts_perturbed.json, row 2: one of the texts in 'perturbed_answer' is empty.",
    ]


def test_broken_lines_and_empty_files(tmp_path):
    write_tofu(tmp_path)
    file = tmp_path / "retain_perturbed.json"
    file.write_text(file.read_text() + '{"question": "w3", ')
    assert "retain_perturbed.json, row 3: the line is not JSON" in problems(tmp_path)[0]
    file.write_text("")
    assert "retain_perturbed.json: there are no questions" in problems(tmp_path)[0]


def test_a_file_in_another_encoding_is_named(tmp_path):
    write_tofu(tmp_path)
    file = tmp_path / "forget01_perturbed.json"
    file.write_bytes(file.read_bytes().replace(b'"question": "w', b'"question": "\xed', 1))
    (found,) = problems(tmp_path)
    assert f"'{file}' cannot be read: 'utf-8' codec" in found


def write_plain(folder, rows) -> None:
    lines = (json.dumps({key: row[key] for key in ("question", "answer")}) for row in rows)
    (folder / "forget01.json").write_text("\n".join(lines) + "\n")


def test_a_perturbed_file_must_ask_what_the_plain_one_does(tmp_path):
    rows = tofu_rows()["forget01_perturbed.json"]
    write_tofu(tmp_path)
    write_plain(tmp_path, rows)
    assert len(load_questions(tmp_path, "forget01")["forget"]) == 3
    perturbed = tmp_path / "forget01_perturbed.json"
    for plain, row, differ in (
        ([rows[0], rows[2], rows[1]], 2, 2),  # two rows have changed places
        (rows[:2], 3, 1),
        ([*rows, rows[0]], 4, 1),
        ([rows[0], {**rows[1], "answer": "w3"}, rows[2]], 2, 1),
    ):
        write_plain(tmp_path, plain)
        (found,) = problems(tmp_path)
        assert found.startswith(
            f"{perturbed}, row {row}: its question and answer are not those of the same row"
        )
        assert f"{tmp_path}/forget01.json ({differ} rows differ; the files hold 3 and {len(plain)})" in found


def test_a_path_that_is_neither_folder_nor_hub_id(tmp_path):
    assert "there is no such folder" in problems(tmp_path / "nowhere")[0]


def test_hub_id_is_loaded_by_configuration(tmp_path, monkeypatch):
    rows = tofu_rows()
    asked = []

    def load_dataset(path, name, split):
        asked.append((path, name, split))
        return rows[f"{name}.json"]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert load_questions("locuslab/TOFU", "forget01") == load_questions(write_tofu(tmp_path), "forget01")
    assert asked[:2] == [
        ("locuslab/TOFU", "forget01_perturbed", "train"),
        ("locuslab/TOFU", "retain_perturbed", "train"),
    ]


def test_a_hub_that_cannot_be_reached(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    sentence = problems("locuslab/TOFU")[0]
    assert "data.path: locuslab/TOFU: forget01_perturbed could not be loaded (no route)" in sentence


def test_text_is_read_as_utf8(tmp_path):
    rows = tofu_rows()
    rows["forget01_perturbed.json"][0]["answer"] = "Zoë Müller"
    write_tofu(tmp_path, rows)
    file = tmp_path / "forget01_perturbed.json"
    lines = (json.dumps(row, ensure_ascii=False) for row in rows[file.name])
    file.write_text("\n".join(lines), encoding="utf-8")
    assert load_questions(tmp_path, "forget01")["forget"][0].answer == "Zoë Müller"
