"""What `export` hands over is read, checked and written: nothing that is cut short, missing, strange or a link."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import expunge
from expunge.cli import main
from expunge.errors import InputError
from expunge.folder.lock import locked
from expunge.report.evidence import Forgetting
from expunge.run.export import export_run
from expunge.storage import CHECKSUMS, LOCK, read_json, write_record
from small_recipe import small_recipe

WEIGHTS, CONFIG, ORIGIN = "adapter_model.safetensors", "adapter_config.json", "base_fingerprint.json"


@pytest.fixture(scope="module")
def finished(model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {**small_recipe(model_folder, data_folder), "export": ["adapter", "merged"]}
    return expunge.unlearn(recipe, output=tmp_path_factory.mktemp("finished") / "run").path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Without checksums, as a stranger who changes a file would leave it."""
    run = shutil.copytree(finished, tmp_path / "run")
    for file in run.rglob(CHECKSUMS):
        file.unlink()
    return run


def refused(run: Path, to: str = "adapter") -> str:
    output = run.parent / "out"
    with pytest.raises(InputError) as error:
        export_run(run, to, output)
    assert not output.exists()
    (problem,) = error.value.problems
    assert problem.where.startswith(str(run / to))
    return f"{Path(problem.where).name}: {problem.reason}"


def export(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `expunge export`."""
    monkeypatch.setattr("sys.argv", ["expunge", "export", *arguments])
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def test_what_stands_against_the_verdict_is_said_before_anything_is_handed_over(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run has neither a reference nor a holdout; then the same with a verdict that has nothing against it."""
    verdict = expunge.Run(run).state["verdict"]
    assert verdict["against"]
    said = f"Warning: the verdict of this run is: {verdict['headline']} Against it: {'; '.join(verdict['against'])}.\n"
    asked = [str(run), "--output", str(tmp_path / "out")]
    assert export(monkeypatch, *asked, "--strict", "--to", "merged") == 3
    assert capsys.readouterr() == ("", said)
    assert not (tmp_path / "out").exists()
    assert export(monkeypatch, *asked) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'out'}\n", said)
    assert (tmp_path / "out" / WEIGHTS).is_file()
    assert (
        export(monkeypatch, *asked, "--strict") == 2
    )  # the folder is not empty: nothing is said of the verdict
    assert "Warning" not in capsys.readouterr().err

    judged = expunge.Run(run).verdict
    forgotten = replace(judged, forgetting=Forgetting.FORGOTTEN, utility_kept=True)
    for found, code in ((forgotten, 0), (replace(forgotten, utility_kept=None), 3)):
        monkeypatch.setattr(expunge.Run, "verdict", found)
        assert export(monkeypatch, str(run), "--output", str(tmp_path / str(code)), "--strict") == code
        assert ("Warning" in capsys.readouterr().err) is (code == 3)


def test_what_is_whole_is_the_same_bytes(run: Path, tmp_path: Path) -> None:
    (run / "adapter" / "notes.txt").write_text("not the run's")
    adapter, merged = (export_run(run, form, tmp_path / form) for form in ("adapter", "merged"))
    assert {file.name for file in adapter.iterdir()} == {WEIGHTS, CONFIG, ORIGIN, CHECKSUMS}
    assert (adapter / WEIGHTS).read_bytes() == (run / "adapter" / WEIGHTS).read_bytes()
    assert read_json(adapter / ORIGIN) == read_json(run / "adapter" / ORIGIN)
    ours, theirs = (read_json(folder / CONFIG) for folder in (adapter, run / "adapter"))
    assert sorted(ours.pop("target_modules")) == sorted(theirs.pop("target_modules"))
    assert ours == theirs
    for name in ("model.safetensors", "tokenizer.json"):
        assert (merged / name).read_bytes() == (run / "merged" / name).read_bytes()
    assert not list(tmp_path.rglob(LOCK))
    shutil.rmtree(run / "merged")  # and made anew where it was, from the adapter
    anew = export_run(run, "merged", run / "merged")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (anew, merged))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def changed_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(file: Path) -> None:
        weights = load_file(file)
        change(weights)
        save_file(weights, file, metadata={"format": "pt"})
        # The stranger has thought of the record as well.
        state = read_json(file.parents[1] / "run.json")
        state["adapter"]["bytes"] = file.stat().st_size
        write_record(file.parents[1] / "run.json", state)

    return apply


def without_layers(kind: str, both: bool) -> Callable[[Path], None]:
    return changed_weights(
        lambda weights: [
            weights.pop(name) for name in list(weights) if kind in name and (both or ".lora_A." in name)
        ]
    )


def no_number(weights: dict[str, torch.Tensor]) -> None:
    next(iter(weights.values()))[0, 0] = float("nan")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, f"{WEIGHTS}: it cannot be read: "),
        (Path.unlink, f"{WEIGHTS}: it is missing."),
        (without_layers("layers.0.self_attn.q_proj", both=False), f"{WEIGHTS}: it lacks base_model.model.model."),
        (without_layers(".q_proj", both=True), f"{WEIGHTS}: it lacks the factors of self_attn.q_proj, "),
        (changed_weights(no_number), f"{WEIGHTS}: its factors of model.layers.0."),
    ],
    ids=["cut", "missing", "half a layer", "a kind of layers", "NaN"],
)  # fmt: skip
def test_damaged_weights(run: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(run / "adapter" / WEIGHTS)
    assert refused(run).startswith(said)


def test_a_layer_that_is_missing_shows_in_the_size(run: Path) -> None:
    file = run / "adapter" / WEIGHTS
    size = file.stat().st_size
    weights = load_file(file)
    for name in [name for name in weights if "layers.1.mlp.up_proj" in name]:
        del weights[name]
    save_file(weights, file, metadata={"format": "pt"})
    assert refused(run) == f"{WEIGHTS}: it has {file.stat().st_size:,} bytes, but the run wrote {size:,}."


@pytest.mark.parametrize(
    ("key", "value"), [("use_dora", True), ("rank_pattern", {"q_proj": 4}), ("bias", "all")]
)
def test_a_setting_that_no_run_writes(run: Path, key: str, value: object) -> None:
    file = run / "adapter" / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    assert refused(run) == f"{CONFIG}: its {key} is {value!r}, which no run writes."


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, ORIGIN, "../secret"])
def test_a_link(run: Path, name: str) -> None:
    """To a file of the one who exports, say: it would be handed out with the adapter."""
    secret = run.parent / "secret"
    secret.write_text("mine")
    file = run / "adapter" / Path(name).name
    file.unlink(missing_ok=True)
    file.symlink_to(secret)
    assert refused(run) == f"{file.name}: it is a link, to {str(secret)!r}."


@pytest.mark.parametrize("to", ["adapter", "merged"])
def test_a_folder_that_is_a_link(run: Path, to: str) -> None:
    (run / to).rename(run.parent / "elsewhere")
    (run / to).symlink_to(run.parent / "elsewhere")
    assert refused(run, to).startswith(f"{to}: it is a link, to ")


def test_a_merged_model_that_is_cut(run: Path) -> None:
    cut(run / "merged" / "model.safetensors")
    assert "damaged or cut short" in refused(run, "merged")


def test_one_export_a_folder(run: Path, tmp_path: Path) -> None:
    with (
        locked(tmp_path / "out", "other"),
        pytest.raises(InputError, match="--output: it is being written to by"),
    ):
        export_run(run, "adapter", tmp_path / "out")
    export_run(run, "adapter", tmp_path / "out")
    with pytest.raises(InputError, match="is not empty"):
        export_run(run, "adapter", tmp_path / "out")
