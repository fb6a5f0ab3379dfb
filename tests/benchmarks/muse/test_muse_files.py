"""MUSE's splits from any layout, and a sentence for whatever is wrong with them."""

from __future__ import annotations

import pytest
from datasets.exceptions import DatasetNotFoundError

from expunge.benchmarks.muse.files import QUESTIONS, TEXTS, read_split
from expunge.benchmarks.muse.material import load_material
from expunge.benchmarks.muse.settings import MuseData
from expunge.benchmarks.tofu.settings import TofuData
from expunge.data.samples import Text
from expunge.data.sets import load_data
from expunge.errors import InputError
from muse_files import muse_splits, write_muse, write_split

SPLITS = muse_splits()


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".parquet", "-00000-of-00001.parquet"])
def test_every_layout_is_the_same_data(tmp_path, ending):
    path = write_muse(tmp_path, ending)
    assert read_split(path, "knowmem/forget_qa", QUESTIONS) == SPLITS["knowmem/forget_qa"]
    found = load_material(path)
    assert list(found.forget_texts) == [row["text"] for row in SPLITS["privleak/forget"]]
    assert found.hash == load_material(write_muse(tmp_path / "again", ".jsonl")).hash
    assert found.hash != load_material(path, samples=2).hash


def test_the_authors_own_files_are_lists_of_texts(tmp_path):
    path = write_muse(tmp_path, ".json")
    write_split(tmp_path / "privleak" / "holdout.json", [row["text"] for row in SPLITS["privleak/holdout"]])
    assert read_split(path, "privleak/holdout", TEXTS) == SPLITS["privleak/holdout"]


def test_shards_are_read_in_their_order_and_before_older_files(tmp_path):
    """On the hub an older verbmem/forget.json lies beside the parquet file that is current."""
    rows = SPLITS["raw/forget"]
    for number, part in enumerate((rows[:3], rows[3:])):
        write_split(tmp_path / "raw" / f"forget-0000{number}-of-00002.parquet", part)
    write_split(tmp_path / "raw" / "forget.json", rows[:1])
    write_split(tmp_path / "raw" / "forget_qa.json", rows[:1])
    assert read_split(str(tmp_path), "raw/forget", TEXTS) == rows


def test_from_the_hub_by_configuration_and_split(monkeypatch):
    asked = []

    def load_dataset(name, configuration, split):
        asked.append((name, configuration, split))
        return SPLITS[f"{configuration}/{split}"]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    found = load_data(MuseData(format="muse", path="muse-bench/MUSE-News", forget="scal/forget_2"), True)
    assert asked == [("muse-bench/MUSE-News", "scal", "forget_2"), ("muse-bench/MUSE-News", "raw", "retain1")]
    assert found.forget.source == "muse-bench/MUSE-News:scal:forget_2"


@pytest.mark.parametrize("forget", ["raw/forget", "scal/forget_2", "sust/forget_2"])
def test_what_is_trained_on_is_any_split_by_name(tmp_path, forget):
    found = load_data(MuseData(format="muse", path=write_muse(tmp_path), forget=forget), True)
    assert found.format == "muse"
    assert found.forget.samples == [Text(row["text"]) for row in SPLITS[forget]]
    assert found.retain.samples == [Text(row["text"]) for row in SPLITS["raw/retain1"]]


def problems(path: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_material(path)
    return [str(problem) for problem in caught.value.problems]


def test_every_missing_split_is_named(tmp_path):
    path = write_muse(tmp_path)
    (tmp_path / "knowmem" / "retain_qa_icl.jsonl").unlink()
    (tmp_path / "privleak" / "holdout.jsonl").unlink()
    first, second = problems(path)
    assert first.startswith(f"{tmp_path}/knowmem/retain_qa_icl: this split is missing")
    assert "'knowmem/retain_qa'" in first  # the nearest
    assert second.startswith(f"{tmp_path}/privleak/holdout: this split is missing")
    with pytest.raises(InputError, match=r"sust/forget_5: this split is missing.*Did you mean 'sust/forget_"):
        load_data(MuseData(format="muse", path=path, forget="sust/forget_5"), False)


def test_every_row_of_another_schema_is_named(tmp_path):
    splits = muse_splits()
    splits["verbmem/forget"][1] = {"prompt": "w4", "completion": "w5"}
    splits["knowmem/forget_qa"][3] = {"question": "w4", "answer": "  "}
    splits["knowmem/retain_qa"][0] = {"question": "w4", "answer": 7}
    splits["privleak/holdout"] = [{"content": "w4"}]
    splits["privleak/forget"] = []
    told = problems(write_muse(tmp_path, ".json", splits))
    assert told == [
        f"{tmp_path}/verbmem/forget, row 2: there is no 'gt' (columns there: completion, prompt). "
        "A row of verbmem/forget needs text in: prompt, gt.",
        f"{tmp_path}/knowmem/forget_qa, row 4: the 'answer' is empty (columns there: answer, question). "
        "A row of knowmem/forget_qa needs text in: question, answer.",
        f"{tmp_path}/knowmem/retain_qa, row 1: the 'answer' is of type int, not text "
        "(columns there: answer, question). "
        "A row of knowmem/retain_qa needs text in: question, answer.",
        f"{tmp_path}/privleak/forget: it holds no rows. Restore the file from the published data set.",
        f"{tmp_path}/privleak/holdout, row 1: there is no 'text' (columns there: content). "
        "A row of privleak/holdout needs text in: text.",
    ]


def test_a_holdout_that_is_to_be_forgotten_is_refused(tmp_path):
    splits = muse_splits()
    splits["privleak/holdout"][2] = splits["privleak/forget"][1]
    (told,) = problems(write_muse(tmp_path, ".jsonl", splits))
    assert told.startswith(f"{tmp_path}/privleak/holdout, row 3: it is row 2 of {tmp_path}/privleak/forget.")


@pytest.mark.parametrize("path", ["./absent", "/absent/muse", "absent"])
def test_a_missing_folder_is_said_once(path):
    (told,) = problems(path)
    assert told.startswith(f"path: there is no folder {path!r}.")
    with pytest.raises(InputError) as caught:
        load_data(MuseData(format="muse", path=path), True)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("error", [ConnectionError("no route"), DatasetNotFoundError("no such set")])
def test_a_hub_that_does_not_have_it_is_asked_once(monkeypatch, error):
    """A mistyped folder may look like a hub id, and the hub's client tries five times over 23 seconds."""
    asked = []

    def load_dataset(*name, split):
        asked.append((*name, split))
        raise error

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    (told,) = problems("muse/newz")
    assert told.startswith("path: there is no folder 'muse/newz', and no data set of that name could be had")
    assert str(error) in told
    assert len(asked) == 1
    for data in (
        MuseData(format="muse", path="muse/newz"),
        TofuData(format="tofu", path="muse/newz", forget="forget01"),
    ):
        asked.clear()
        with pytest.raises(InputError) as caught:
            load_data(data, True)
        assert (len(caught.value.problems), len(asked)) == (1, 1)


def test_splits_that_the_hub_does_not_have_are_all_named(monkeypatch):
    def load_dataset(name, configuration, split):
        raise ValueError(f"Unknown split {split!r}.")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert len(problems("muse-bench/MUSE-News")) == 7
    with pytest.raises(InputError) as caught:
        load_data(MuseData(format="muse", path="muse-bench/MUSE-News"), True)
    assert len(caught.value.problems) == 2


def test_a_broken_file_is_named(tmp_path):
    path = write_muse(tmp_path)
    (tmp_path / "verbmem" / "forget.jsonl").write_text('{"prompt": "w4", "gt": "w5"}\n{"prompt": \n')
    (told,) = problems(path)
    assert told.startswith(f"{tmp_path}/verbmem/forget.jsonl, row 2: the line is not JSON")
