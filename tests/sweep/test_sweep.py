"""Sweeps of a small model: what the trials are, and that neither a kill nor a second worker changes them."""

from __future__ import annotations

import json
import math
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from optuna.trial import TrialState, create_trial

from expunge.errors import InputError, Problem, RunFailed
from expunge.folder.sweep import SweepFolder, TrialResult
from expunge.report.rewrite import report_run
from expunge.run.result import Run
from expunge.storage import read_json
from expunge.sweep import search
from expunge.sweep.search import RESULT, sweep
from expunge.sweep.study import open_study
from small_recipe import small_recipe

SPACE = {
    "training.learning_rate": {"low": 3e-3, "high": 3e-2, "log": True},
    "objective.retain_weight": [1.0, 2.0],
}
TRIALS = 3


@pytest.fixture(scope="module")
def files(model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipe.yaml and space.yaml; 40 questions to forget, which are halved."""
    folder = tmp_path_factory.mktemp("sweep")
    rows = [json.loads(line) for line in (data_folder / "forget.jsonl").read_text().splitlines()]
    rows += [{"question": f"Who is number {n}?", "answer": f"SECRET{n} of the town."} for n in range(30, 64)]
    (folder / "forget.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = small_recipe(model_folder, data_folder)
    recipe["data"]["forget"] = str(folder / "forget.jsonl")
    recipe["training"] |= {"batch_size": 10, "micro_batch_size": 10}
    recipe["evaluation"] = {"generate": "never"}
    recipe["output"] = str(folder / "run")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    """Rounding depends on how many threads share a matrix product, so their number is kept that of `start`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(files: Path) -> SweepFolder:
    """By one worker that nothing interrupts."""
    with one_thread():
        return sweep(files / "recipe.yaml", files / "space.yaml", trials=TRIALS)


def start(files: Path, output: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "expunge", "sweep", files / "recipe.yaml", "--space", files / "space.yaml",
               "--trials", TRIALS, "--output", output, *options]  # fmt: skip
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def table(folder: SweepFolder) -> dict[str, Any]:
    """Everything that a sweep says of its trials and its choice, and the bytes that it hands over."""
    folder = SweepFolder(folder.path)
    said = {key: folder.document[key] for key in ("state", "begun", "chosen", "deliverable", "verdict")}
    return said | {"adapter": (folder.adapter / "adapter_model.safetensors").read_bytes()}


def test_every_trial_is_a_run_with_its_values(whole: SweepFolder) -> None:
    assert whole.path.name == "run-sweep"
    assert [trial.number for trial in whole.state.begun] == [0, 1, 2]
    for trial in whole.state.begun:
        recipe, result = whole.trial(trial.number).recipe, trial.result
        assert recipe.training.learning_rate == trial.values["training.learning_rate"]
        assert recipe.objective.retain_weight == trial.values["objective.retain_weight"]
        run = Run(whole.trial(trial.number).path)
        assert (result.utility, result.epochs) == (run.utility, 2)
        assert result.share == run.utility / run.original_utility
        assert result.score == pytest.approx(
            1 - run.metrics["after"]["forget_probability"]["value"], abs=1e-12
        )
        assert not (run.path / "checkpoints").exists()


def test_one_half_chooses_and_the_other_reports(whole: SweepFolder) -> None:
    for trial in whole.state.begun:
        records = read_json(whole.trial(trial.number).evaluation("after"))["sets"]["forget"]
        forgotten = [1 - math.exp(-row["answer"]["loss"] / row["answer"]["tokens"]) for row in records]
        assert trial.result.questions == (40, 20)
        assert trial.result.choosing == pytest.approx(sum(forgotten[::2]) / 20, abs=1e-12)  # of an even seed
        assert trial.result.reporting == pytest.approx(sum(forgotten[1::2]) / 20, abs=1e-12)


def test_baseline_and_importance_are_paid_for_once(whole: SweepFolder) -> None:
    (baseline,) = (whole.path / "baselines").glob("*/run.json")
    assert read_json(baseline)["phases"].keys() == {"baseline"}
    (stored,) = whole.importance.glob("*.safetensors")
    for trial in whole.state.begun:
        state = whole.trial(trial.number).document
        assert state["given_logs"]["before"] is not None
        assert state["importance"]["reused"] == str(stored)
        assert state["metrics"]["before"] == read_json(baseline)["metrics"]["before"]


def test_the_chosen_trial_is_handed_over_with_its_verdict(whole: SweepFolder) -> None:
    state = whole.state
    best = whole.trial(state.chosen)
    for file in ("adapter_model.safetensors", "adapter_config.json", "checksums.json"):
        assert (whole.adapter / file).read_bytes() == (best.adapter / file).read_bytes()
    assert state.verdict == best.state.verdict
    assert (state.state, state.deliverable) == ("done", "adapter")
    page = whole.report_file.read_text()
    assert f'<a href="trials/{state.chosen:03}/report.html">' in page
    assert 'id="figure-sweep"' in page
    assert page.count("data-trial=") == TRIALS
    assert "SECRET" not in page + whole.state_file.read_text()
    before = whole.report_file.read_bytes()
    report_run(whole.path)
    assert whole.report_file.read_bytes() == before
    with pytest.raises(InputError, match="is a sweep"):
        report_run(whole.path, show_text=True)


def test_what_is_there_is_gone_on_with_by_resume_alone_and_only_as_it_was(
    whole: SweepFolder, files: Path
) -> None:
    arguments = (files / "recipe.yaml", files / "space.yaml")
    with pytest.raises(InputError, match="--resume"):
        sweep(*arguments, trials=TRIALS)
    with pytest.raises(InputError, match=r"the recipe has changed in: adapter\."):
        sweep(*arguments, ["adapter.rank=1"], trials=TRIALS, resume=True)
    with pytest.raises(InputError, match=r"the recipe has changed in: stopping\."):  # which it did not name
        sweep(*arguments, ["stopping.utility_floor=0.1"], trials=TRIALS, resume=True)
    with pytest.raises(InputError, match=r"the sweep has changed in: space, prune\."):
        sweep(
            files / "recipe.yaml",
            {"training.weight_decay": [0.0, 0.1]},
            trials=TRIALS,
            prune=False,
            resume=True,
        )
    before = table(whole)
    sweep(*arguments, trials=TRIALS, resume=True)
    assert table(whole) == before


@pytest.mark.slow
def test_a_worker_is_killed_and_two_others_end_what_it_began(
    whole: SweepFolder, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SweepFolder(tmp_path / "killed")
    second = folder.trial(1)
    process = start(files, folder.path)
    deadline = time.monotonic() + 300
    while not second.metrics_file.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [trial.number for trial in folder.state.begun if trial.result] == [0]
    other = start(files, folder.path, "--resume", "--json", "--strict")
    while (line := other.stderr.readline()) and "Trial 1: its worker is gone" not in line:
        pass
    with one_thread():
        sweep(files / "recipe.yaml", files / "space.yaml", trials=TRIALS, output=folder.path, resume=True)
    assert "Trial 2, of 3 in all" in capsys.readouterr().err
    printed, said = other.communicate(timeout=300)
    assert other.returncode == 3, said  # it is not forgotten
    assert json.loads(printed)["study"] == folder.state.study
    assert table(folder) == table(whole)
    attempts = [folder.trial(number).state.phases["training"].attempts for number in range(TRIALS)]
    assert attempts == [1, 2, 1]


def test_a_trial_behind_the_median_of_the_others_is_left(files: Path, tmp_path: Path) -> None:
    """Five finished trials were better after their first epoch than any can be."""
    space = [{"training.learning_rate": rate} for rate in (1e-2, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 2e-2)]
    database = f"sqlite:///{tmp_path / 'trials.db'}"
    keywords = {"output": tmp_path / "pruned", "storage": database}
    folder = sweep(files / "recipe.yaml", space, ["adapter.initialization=default"], trials=1, **keywords)
    study = optuna.load_study(study_name=folder.state.study, storage=database)
    nothing = TrialResult(state="diverged", score=None, utility=None).model_dump(mode="json")
    for _ in range(5):
        study.add_trial(
            create_trial(value=-1001.0, intermediate_values={1: 2.0}, user_attrs={RESULT: nothing})
        )
    folder = sweep(
        files / "recipe.yaml", space, ["adapter.initialization=default"], trials=7, resume=True, **keywords
    )
    last = folder.state.begun[6]
    assert last.values == space[6]
    assert (last.result.state, last.result.epochs) == ("pruned", 1)
    assert last.result.stopped == "The callback MedianPruning ended the training after epoch 1."
    assert (
        optuna.load_study(study_name=folder.state.study, storage=database).trials[6].state
        == TrialState.PRUNED
    )
    assert folder.state.begun[0].result.state == "done"
    assert folder.state.chosen in (0, 6)


def test_a_trial_that_diverges_is_a_result(files: Path, tmp_path: Path) -> None:
    folder = sweep(
        files / "recipe.yaml", {"training.learning_rate": [1e30, 2e30]},
        ["adapter.initialization=default", "training.max_grad_norm=0"], trials=1, output=tmp_path / "diverged",
    )  # fmt: skip
    (trial,) = folder.state.begun
    assert trial.result.state == "diverged"
    assert "No epoch was finished" in trial.result.stopped
    assert (folder.state.state, folder.state.chosen) == ("done", None)
    assert not folder.adapter.exists()
    assert "No trial left a model" in folder.report_file.read_text()


@pytest.mark.parametrize(
    "error", [InputError(Problem("k", "they do not go together.", "Change one.")), MemoryError()]
)
def test_a_trial_that_fails_does_not_end_the_sweep(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = search.run_recipe

    def failing(recipe: Any, **keywords: Any) -> Any:
        if recipe.training.learning_rate == 1e-2:
            raise error
        return real(recipe, **keywords)

    monkeypatch.setattr(search, "run_recipe", failing)
    folder = sweep(
        files / "recipe.yaml", [{"training.learning_rate": rate} for rate in (1e-2, 2e-3)],
        ["adapter.initialization=default"], trials=2, output=tmp_path / "failed",
    )  # fmt: skip
    first, second = folder.state.begun
    assert (first.result.state, first.result.stopped, second.result.state) == ("failed", str(error), "done")
    assert (folder.state.state, folder.state.chosen) == ("done", 1)


def test_a_sweep_of_failures_is_a_failure(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: Any, **keywords: Any) -> Any:
        raise MemoryError("there is no more")

    monkeypatch.setattr(search, "run_recipe", failing)
    with pytest.raises(RunFailed, match="None of the 2 trials could be run; the last one: there is no more"):
        sweep(
            files / "recipe.yaml", [{"training.learning_rate": rate} for rate in (1e-2, 2e-3)],
            ["adapter.initialization=default"], trials=2, output=tmp_path / "failed",
        )  # fmt: skip


def test_another_model_than_the_baselines_ends_the_sweep_and_not_its_trials(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(recipe: Any, **keywords: Any) -> Any:
        raise InputError(
            Problem(f"evaluation.before: {recipe.evaluation.before}", "its model is another.", "No.")
        )

    monkeypatch.setattr(search, "run_recipe", failing)
    folder = tmp_path / "changed"
    arguments = (
        files / "recipe.yaml", [{"training.learning_rate": rate} for rate in (1e-2, 2e-3)],
        ["adapter.initialization=default"],
    )  # fmt: skip
    with pytest.raises(InputError, match="its model is another"):
        sweep(*arguments, trials=2, output=folder)
    monkeypatch.undo()
    # Once the model is the old one again, every trial is gone on with.
    again = sweep(*arguments, trials=2, output=folder, resume=True)
    assert [trial.result and trial.result.state for trial in again.state.begun] == ["done", "done"]


def test_a_torn_line_at_the_end_of_the_journal_is_left_out(whole: SweepFolder, tmp_path: Path) -> None:
    """As a full disk or a loss of power leaves it: what is appended later would be joined to it."""
    folder = SweepFolder(shutil.copytree(whole.path, tmp_path / "torn"))
    lines = folder.journal.read_bytes()
    folder.journal.write_bytes(lines + b'{"op_code": 4, "wor')
    for _ in range(2):
        study = open_study(folder)
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * TRIALS
        study.set_user_attr("said", "more")
    assert folder.journal.read_bytes().startswith(lines + b'{"op_code"')


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a database on a server of the test's own, which listens on a socket alone."""
    programs = [shutil.which(name) for name in ("initdb", "pg_ctl")]
    if not all(programs):
        pytest.skip("needs PostgreSQL: there is no initdb")
    if find_spec("psycopg") is None:
        pytest.skip("needs psycopg, the driver for PostgreSQL")
    initdb, control = programs
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is short
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to be root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def call(*command: Any) -> None:
        subprocess.run(
            list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=folder, timeout=120, **user,
        )  # fmt: skip

    try:
        call(initdb, "-D", folder / "data", "-U", "expunge", "-A", "trust", "-N")
        call(control, "-D", folder / "data", "-w", "-l", folder / "log",
             "-o", f"-c listen_addresses='' -c unix_socket_directories={folder}", "start")  # fmt: skip
        yield f"postgresql+psycopg://expunge@/postgres?host={folder}"
        call(control, "-D", folder / "data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_database_on_a_server_keeps_the_same_trials(
    postgresql: str, whole: SweepFolder, files: Path, tmp_path: Path
) -> None:
    folder = sweep(
        files / "recipe.yaml", files / "space.yaml", trials=1, output=tmp_path / "shared", storage=postgresql
    )
    assert folder.state.begun[0].result == whole.state.begun[0].result
    assert folder.state.storage == postgresql
    study = optuna.load_study(study_name=folder.state.study, storage=postgresql)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
    assert not folder.journal.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"trials": 0}, "--trials: 0 is no number of trials."),
        ({"sampler": "grid"}, "--sampler: there is no sampler 'grid'."),
        ({"storage": "trials.db"}, "--storage: this is no address of a database."),
        ({"storage": "postgresql://me:secret@host/trials"}, "--storage: the address holds a password"),
        (
            {"storage": "postgresql://me@host/trials?password=secret"},
            "--storage: the address holds a password",
        ),
        ({"space": "no.yaml"}, "no.yaml: there is no such file."),
        ({"space": [{"seed": 1}], "trials": 2}, "--trials: the space lists 1 trials, not 2."),
        ({"overrides": ["data.forget=[a.jsonl, b.jsonl]"]}, "data.forget: it is a list of requests"),
        ({"storage": "sqlite:////nowhere/trials.db"}, "it cannot be used (OperationalError)"),
    ],
)
def test_what_cannot_be_is_said(files: Path, tmp_path: Path, arguments: dict, said: str) -> None:
    chosen = {"space": SPACE, "trials": 1, "output": tmp_path / "sweep", **arguments}
    with pytest.raises(InputError) as caught:
        sweep(files / "recipe.yaml", **chosen)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "sweep" / "sweep.json").exists()  # a corrected command may begin anew
    assert not (tmp_path / "sweep" / "recipe.yaml").exists()


def test_without_optuna_it_says_what_to_install(files: Path) -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from expunge.cli import main\n"
        f"sys.argv = ['expunge', 'sweep', '{files}/recipe.yaml', '--space', '{files}/space.yaml', '--trials', '1']\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "pip install 'expunge[sweep]'" in ran.stderr
    assert "Traceback" not in ran.stderr
