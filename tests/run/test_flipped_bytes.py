"""A bit that has flipped in a file of a run is named by whoever goes on from the file, with the way back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import expunge
from expunge.errors import InputError
from expunge.report.rewrite import report_run
from expunge.run.export import export_run
from expunge.storage import CHECKSUM, CHECKSUMS, read_json, write_json, write_record
from expunge.training.weights import check_state
from small_recipe import small_recipe

LATER = {
    "adapter": ["adapter", "training", "evaluation", "export", "report"],
    "training": ["training", "evaluation", "export", "report"],
    "export": ["export", "report"],
    "report": ["report"],
}
CHANGED = "it is not as it was written: its SHA-256 is not the one in checksums.json."


@pytest.fixture(scope="module")
def finished(model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {**small_recipe(model_folder, data_folder), "export": ["adapter", "merged"]}
    return expunge.unlearn(recipe, output=tmp_path_factory.mktemp("flipped") / "run").path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def resume(run: Path, phase: str) -> None:
    """Go on with the run as one that has not come to this phase."""
    state = read_json(run / "run.json")
    write_record(run / "run.json", {**state, "phases": {
        name: facts for name, facts in state["phases"].items() if name not in LATER[phase]
    }})  # fmt: skip
    if phase == "training":
        shutil.rmtree(run / "checkpoints" / "checkpoint-4")
        lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
        (run / "metrics.jsonl").write_text(lines[0])
    expunge.unlearn(run / "recipe.yaml", output=run, resume=True)


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def refusal(use: Callable[[], object], file: Path) -> str:
    """What is said of the file; returns the way back."""
    with pytest.raises(InputError) as refused:
        use()
    (problem,) = refused.value.problems
    assert problem.where == str(file)
    assert problem.reason == CHANGED
    return problem.remedy


WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        ("eval/before.json", "report"),
        ("eval/epoch-1.json", "report"),
        ("importance.safetensors", "adapter"),
        ("importance.safetensors", "report"),
        (f"initial_adapter/{WEIGHTS}", "training"),
        (f"adapter/{WEIGHTS}", "report"),
        ("merged/model.safetensors", "report"),
    ],
)
def test_at_resume(run: Path, name: str, phase: str) -> None:
    flip(run / name, -30 if name.endswith("safetensors") else 1)
    remedy = refusal(lambda: resume(run, phase), run / name)
    assert remedy == "Restore the file, or run the recipe again with another --output."


@pytest.mark.parametrize("name", [WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_in_a_checkpoint(run: Path, name: str) -> None:
    checkpoint = run / "checkpoints" / "checkpoint-2"
    file = checkpoint / name
    flip(file, -3 if name == WEIGHTS else file.stat().st_size // 2)
    with pytest.raises(InputError) as refused:
        resume(run, "training")
    (problem,) = refused.value.problems
    assert problem.where == str(file)
    assert problem.remedy.startswith(f"Delete {checkpoint}: training goes on")


def test_a_damaged_entry_of_a_checkpoint_that_has_no_checksums(run: Path) -> None:
    """As version 0.1.0 wrote it: the archive has a sum of its own for each entry."""
    checkpoint = run / "checkpoints" / "checkpoint-2"
    (checkpoint / CHECKSUMS).unlink()
    check_state(checkpoint)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        file = checkpoint / name
        whole = file.read_bytes()
        flip(file, whole.find(b"\x80\x02}") + 20)  # in the pickle that the archive begins with
        with pytest.raises(InputError, match=r"in it is damaged|cannot be read") as refused:
            check_state(checkpoint)
        assert refused.value.problems[0].where == str(file)
        file.write_bytes(whole)


def test_a_checkpoint_of_another_number_of_processes(run: Path) -> None:
    """The batch of a step goes by it, and each process has random numbers of its own."""
    checkpoint = run / "checkpoints" / "checkpoint-2"
    for number in range(2):
        (checkpoint / f"rng_state_{number}.pth").write_bytes((checkpoint / "rng_state.pth").read_bytes())
    (checkpoint / "rng_state.pth").unlink()
    (checkpoint / CHECKSUMS).unlink()
    with pytest.raises(InputError, match=r"written by 2 processes, and now there is 1\..*Launch it with 2"):
        check_state(checkpoint)


@pytest.mark.parametrize("place", [8, 10], ids=["encrypted", "packed otherwise"])
@pytest.mark.parametrize("checksums", [True, False])
def test_in_the_directory_of_a_checkpoints_archive(run: Path, place: int, checksums: bool) -> None:
    """zipfile has other errors for what an archive claims of itself than for one that is cut."""
    checkpoint = run / "checkpoints" / "checkpoint-2"
    if not checksums:
        (checkpoint / CHECKSUMS).unlink()
    file = checkpoint / "optimizer.pt"
    flip(file, file.read_bytes().find(b"PK\x01\x02") + place)
    with pytest.raises(InputError, match="its directory is damaged") as refused:
        check_state(checkpoint)
    assert refused.value.problems[0].where == str(file)


def test_in_a_report(run: Path) -> None:
    flip(run / "eval" / "after.json", (run / "eval" / "after.json").read_bytes().rfind(b"0."))
    remedy = refusal(lambda: report_run(run), run / "eval" / "after.json")
    assert remedy == "Restore the file, or run the recipe again with another --output."


@pytest.mark.parametrize("to", ["adapter", "merged"])
def test_in_what_is_exported(run: Path, tmp_path: Path, to: str) -> None:
    file = run / to / (WEIGHTS if to == "adapter" else "model.safetensors")
    whole = file.read_bytes()
    flip(file, -3)
    remedy = refusal(lambda: export_run(run, to, tmp_path / "out"), file)
    assert not (tmp_path / "out").exists()
    if to == "merged":
        assert remedy == f"Delete {run / 'merged'}: it will be merged anew from the adapter."
        shutil.rmtree(run / "merged")
        export_run(run, to, tmp_path / "out")
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == whole
    else:
        file.write_bytes(whole)
        assert (export_run(run, to, tmp_path / "out") / CHECKSUMS).is_file()


def test_a_run_of_version_0_1_0_goes_on_and_reports(run: Path, tmp_path: Path) -> None:
    """It has no checksums, and its fingerprints are of the weights alone."""
    for file in run.rglob(CHECKSUMS):
        file.unlink()
    for file in (run / "run.json", run / "adapter" / "base_fingerprint.json", *run.glob("eval/*.json")):
        content = read_json(file)
        content.pop(CHECKSUM, None)
        for part in (content, content.get("model") or {}):
            for key in ("fingerprint", "original"):
                if key in part:
                    part[key] = part[key].partition("-")[0]
        write_json(file, content)
    adapter = (run / "adapter" / WEIGHTS).read_bytes()
    export_run(run, "merged", tmp_path / "merged")
    report_run(run)
    resume(run, "training")
    assert (run / "adapter" / WEIGHTS).read_bytes() == adapter
    assert "-" in read_json(run / "adapter" / "base_fingerprint.json")["fingerprint"]
