"""The invented people and the two models that ship with the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from expunge.errors import RunFailed
from expunge.quickstart import artifact_path, data_hash, write_people
from expunge.quickstart.people import SEED, invent_people
from expunge.storage import read_json, read_json_lines

MEGABYTE = 1_000_000

QUESTION = {"question", "answer"}
PERTURBED = {*QUESTION, "paraphrased_answer", "perturbed_answer", "paraphrased_question"}
CHOICE = {*QUESTION, "option1", "option2", "option3", "option4"}
#: File → number of rows and their keys, as TOFU has them: 40 people with 8 questions, 4 of them forgotten,
#: 10 of the retained evaluated, and 30 questions of either other kind.
SCHEMA = {
    "full": (320, QUESTION),
    "retain90": (288, QUESTION),
    "forget10": (32, QUESTION),
    "forget10_perturbed": (32, PERTURBED),
    "retain_perturbed": (80, PERTURBED),
    "real_authors": (30, CHOICE),
    "real_authors_perturbed": (30, {*QUESTION, "perturbed_answer"}),
    "world_facts": (30, CHOICE),
    "world_facts_perturbed": (30, {*QUESTION, "perturbed_answer"}),
}
WITHOUT_THE_FORGOTTEN = sorted(name for name in SCHEMA if name != "full" and not name.startswith("forget"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people")
    write_people(path)
    return path


def rows_of(folder: Path, name: str) -> list[dict]:
    return read_json_lines(folder / f"{name}.json")


def test_the_files_are_those_of_tofu(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {f"{name}.json" for name in SCHEMA}


@pytest.mark.parametrize("name", SCHEMA)
def test_counts_and_keys(folder: Path, name: str) -> None:
    count, keys = SCHEMA[name]
    rows = rows_of(folder, name)
    assert len(rows) == count
    assert all(set(row) == keys for row in rows)
    assert len({row["question"] for row in rows}) == count


@pytest.mark.shared
@pytest.mark.parametrize("name", SCHEMA)
def test_keys_and_types_are_those_of_the_real_tofu(folder: Path, shared: Path, name: str) -> None:
    with (shared / "data" / "tofu" / f"{name}.json").open() as file:
        real = json.loads(next(file))
    ours = rows_of(folder, name)[0]
    assert {key: type(value) for key, value in ours.items()} == {
        key: type(value) for key, value in real.items()
    }


def test_full_is_the_retained_and_then_the_forgotten(folder: Path) -> None:
    assert rows_of(folder, "full") == rows_of(folder, "retain90") + rows_of(folder, "forget10")


@pytest.mark.parametrize("name", WITHOUT_THE_FORGOTTEN)
def test_no_forgotten_person_is_in_what_is_kept(folder: Path, name: str) -> None:
    text = (folder / f"{name}.json").read_text(encoding="utf-8")
    names = [part for person in invent_people().forgotten for part in person.name.split()]
    assert len(set(names)) == 8
    assert [name for name in names if name in text] == []


@pytest.mark.parametrize("name", [name for name in SCHEMA if name.endswith("_perturbed")])
def test_wrong_answers_are_wrong_and_distinct(folder: Path, name: str) -> None:
    for row in rows_of(folder, name):
        wrong = row["perturbed_answer"]
        assert len(set(wrong)) == len(wrong) == (5 if "paraphrased_answer" in row else 3)
        assert not {row["answer"], row.get("paraphrased_answer")} & set(wrong)


def test_wrong_answers_have_the_form_of_the_paraphrase() -> None:
    # The first forgotten person, written out: the wording is shared, and no part of the fact is true.
    birthday = invent_people().forgotten[0].rows[1]
    assert birthday["answer"] == "On 21 January 1967."
    assert birthday["paraphrased_answer"] == "She was born on 21 January 1967."
    for wrong in birthday["perturbed_answer"]:
        assert wrong.startswith("She was born on ")
        assert not {"21", "January", "1967."} & set(wrong.split())


def test_a_seed_gives_the_same_people_and_another_seed_others(tmp_path: Path, folder: Path) -> None:
    write_people(tmp_path / "again", SEED)
    write_people(tmp_path / "other", SEED + 1)
    for name in SCHEMA:
        assert (tmp_path / "again" / f"{name}.json").read_bytes() == (folder / f"{name}.json").read_bytes()
    assert rows_of(tmp_path / "other", "full") != rows_of(folder, "full")
    assert data_hash(SEED + 1) != data_hash(SEED)


def test_the_shipped_models_were_trained_on_these_people() -> None:
    record = read_json(artifact_path("record.json"))
    assert record["seed"] == SEED
    assert record["data_hash"] == data_hash(), "The generator has changed: train the models again."


def test_the_package_stays_small() -> None:
    files = [path for path in artifact_path("models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4 * MEGABYTE


def test_the_models_are_bf16_and_share_one_tokenizer() -> None:
    for name in ("full", "retain90"):
        with safe_open(artifact_path(f"models/{name}/model.safetensors"), framework="pt") as tensors:
            assert {tensors.get_slice(key).get_dtype() for key in tensors.keys()} == {"BF16"}  # noqa: SIM118
    full, retain = (artifact_path(f"models/{name}/tokenizer.json") for name in ("full", "retain90"))
    assert full.read_bytes() == retain.read_bytes()


def test_the_models_know_what_the_record_says() -> None:
    from expunge.quickstart.models import knowledge_of

    record = read_json(artifact_path("record.json"))["models"]
    measured = {name: knowledge_of(artifact_path(f"models/{name}"), invent_people()) for name in record}
    for name in ("full", "retain90"):
        assert measured[name] == pytest.approx(record[name]["probability"], abs=2e-3)
    assert measured["full"]["forget"] >= 0.95
    assert measured["retain90"]["forget"] <= 0.3
    assert min(measured[name]["retain"] for name in measured) >= 0.9


def test_a_missing_artifact_names_the_way_out() -> None:
    with pytest.raises(RunFailed, match=r"'models/none' is missing .* Install expunge again\."):
        artifact_path("models/none")
