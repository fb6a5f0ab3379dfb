"""Run folders that an earlier version left: reported, exported, and gone on with to the same end.

`earlier_version/README.md` says how they were made. After the epochs that are left the weights are compared as fp32
allows. Another processor sums in another order: a sum of n products is rounded otherwise by up to n · 2⁻²⁴ of its
size, 2e-5 for the widest layer (n = 320), and the few steps that are left add that up. 1e-4 of a matrix's largest
weight leaves room for it: between the code paths `default`, `avx2` and AVX-512 of PyTorch it is 2e-7, and with the
optimiser's moments lost 6e-2. The epoch that is handed over is the one before the kill, so the last epoch's
checkpoint is compared as well.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import expunge
from expunge.folder.requests import ContinualFolder
from expunge.folder.run import RunFolder
from expunge.report.rewrite import report_run
from expunge.run.export import export_run
from expunge.storage import CHECKSUM, read_json, write_record

CHECKOUT = Path(__file__).parents[2]
FOLDERS = Path(__file__).parent / "earlier_version"
HERE = FOLDERS.relative_to(CHECKOUT)
WEIGHTS = "adapter_model.safetensors"
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def _from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipes name model and data by their place in it."""
    monkeypatch.chdir(CHECKOUT)


def copied(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(FOLDERS / name, folder / name))


def assert_close(ours: Path, theirs: Path) -> None:
    ours, theirs = (load_file(folder / WEIGHTS) for folder in (ours, theirs))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=TOLERANCE * float(weight.abs().max()))


def test_a_killed_run_ends_as_the_one_that_was_not(tmp_path: Path) -> None:
    folder = copied("killed", tmp_path)
    assert read_json(folder / "run.json")["state"] == "running"
    # That version had no choice of the rule, and the default is another by now.
    stored = folder / "recipe.yaml"
    stored.write_text(stored.read_text().replace("stopping:\n", "stopping:\n  choose: best\n"))
    run = expunge.unlearn(HERE / "recipe.yaml", ["stopping.choose=best"], output=folder, resume=True)
    assert run.state["state"] == "done"
    assert [run.state["phases"][phase]["attempts"] for phase in ("baseline", "training", "export")] == [
        1,
        2,
        1,
    ]
    for part in ("checkpoints/checkpoint-6", "adapter"):
        assert_close(folder / part, FOLDERS / "finished" / part)
    theirs = read_json(FOLDERS / "finished" / "run.json")
    # Resumed it was under other versions, which make attacks.
    ours = {key: value for key, value in run.state.items() if key not in ("resumed", "attacks")}
    ours["phases"] = {name: phase for name, phase in ours["phases"].items() if name != "attacks"}
    assert ours["training"].items() >= theirs["training"].items()
    theirs = {**theirs, "training": ours["training"], "verdict": run.verdict.to_json()}
    assert list(ours) == list(theirs)
    assert {key: list(value) for key, value in ours.items() if isinstance(value, dict)} == {
        key: list(value) for key, value in theirs.items() if isinstance(value, dict)
    }
    for stage in ("before", "after"):
        for name, metric in theirs["metrics"][stage].items():
            assert run.metrics[stage][name]["value"] == pytest.approx(metric["value"], rel=1e-2, abs=1e-6), (
                name
            )
    assert "Unlearning report: recipe" in run.report.read_text(encoding="utf-8")


def test_killed_requests_end_as_those_that_were_not(tmp_path: Path) -> None:
    folder = copied("requests_killed", tmp_path)
    run = expunge.unlearn(HERE / "requests.yaml", output=folder, resume=True)
    assert run.state["state"] == "done"
    for part in ("requests/2/checkpoints/checkpoint-2", "requests/2/adapter", "adapter"):
        assert_close(folder / part, FOLDERS / "requests_finished" / part)
    theirs = read_json(FOLDERS / "requests_finished" / "continual.json")
    assert list(run.state) == [*theirs, "verdict"]
    assert run.state["adapter"] == theirs["adapter"]


@pytest.mark.parametrize("name", ["finished", "requests_finished"])
def test_a_finished_run_is_reported_exported_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    folder = copied(name, tmp_path)
    page = report_run(folder).read_text(encoding="utf-8")
    state = (ContinualFolder if name.startswith("requests") else RunFolder)(folder).state
    assert f"Unlearning report{', 2 requests' * name.startswith('requests')}: {state.name}" in page
    exported = export_run(folder, "adapter", tmp_path / "adapter")
    assert (exported / WEIGHTS).read_bytes() == (folder / "adapter" / WEIGHTS).read_bytes()


def test_going_on_with_a_finished_run_repeats_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("finished", tmp_path)
    before = read_json(folder / "run.json")
    run = expunge.unlearn(HERE / "recipe.yaml", output=folder, resume=True)
    assert capsys.readouterr().err.count("done before") == 7
    assert run.state == {**before, "verdict": run.verdict.to_json()}


def test_what_a_later_version_wrote_is_kept(tmp_path: Path) -> None:
    """Keys at every depth that this version does not know are there after it has gone on with the run."""
    folder = copied("killed", tmp_path)
    state = read_json(folder / "run.json")
    state["ledger"] = {"entry": 7}
    state["model"]["tokenizer"] = "abc"
    state["metrics"]["before"]["forget_probability"]["seeds"] = [1, 2]
    write_record(folder / "run.json", state)
    run = RunFolder(folder)
    run.update(error=None)
    run.extend("adapter", bytes=5)
    written = read_json(folder / "run.json")
    del written[CHECKSUM]
    assert written == {**state, "error": None, "adapter": {**state["adapter"], "bytes": 5}}
    assert list(written) == [*state, "error"]
    assert run.state == RunFolder(folder).state
    assert run.state.adapter.bytes == 5
