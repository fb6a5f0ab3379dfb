"""Kills at random moments, resumed; signals; bits that flip: what is lost, and what is found.

    OMP_NUM_THREADS=1 python experiments/soak/soak.py --kills 30 --flips 100 --seed 0 --output /tmp/soak

The model is the quickstart's (0.9 million parameters), the data are a few of its invented people. Four kinds of work:
a run, a run that looks for its learning rate (tuning), two requests one after another (continual), a finetuning. Each
is done once without interruption, and then again with SIGKILL at moments drawn between its first and its last second,
resumed after each, until as many kills as were asked for have struck. The results are compared byte for byte. Then bits
are flipped in a finished run's files, one at a time, at places drawn at random, and whoever reads the file is asked.

The work is done in processes that are forked from this one, which has loaded the libraries and nothing else: on a busy
machine these take most of the time. Writes `soak.json` and prints the counts; ends with exit code 1 where a result
differs or a flipped bit of a file that is guarded is not found.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkProcess as Process
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file

from expunge.errors import InputError
from expunge.folder.checksums import check_finished
from expunge.folder.run import read_run_folder
from expunge.intact import read_intact
from expunge.quickstart import artifact_path, write_people
from expunge.run.export import export_run
from expunge.run.finetune import finetune_recipe
from expunge.run.unlearn import unlearn
from expunge.storage import LOCK, write_json
from expunge.training.weights import check_state

FORK = get_context("fork")
#: Files of a checkpoint that no resume reads: the first is what the others are compared with.
UNREAD = ("checksums.json", "adapter_config.json")
#: Files that have to be the same, byte for byte, by kind.
RESULTS = {
    "run": ["adapter/adapter_model.safetensors", "importance.safetensors", "steps.jsonl"],
    "tuning": ["adapter/adapter_model.safetensors", "steps.jsonl"],
    "continual": ["adapter/adapter_model.safetensors", "requests/1/adapter/adapter_model.safetensors",
                  "requests/2/adapter/adapter_model.safetensors"],
    "finetune": ["model.safetensors", "steps.jsonl"],
}  # fmt: skip


@dataclass
class Tally:
    """Of one kind of work. seconds: without interruption; where: the phase, or the state, in which a kill struck"""

    seconds: float = 0.0
    kills: int = 0
    results: int = 0
    equal: int = 0
    where: Counter[str] = field(default_factory=Counter)


def write_recipes(folder: Path) -> dict[str, Path]:
    people = folder / "people"
    write_people(people)
    rows = [(people / f"{name}.json").read_text().splitlines() for name in ("forget10", "retain90")]
    parts = {"one": rows[0][:6], "two": rows[0][6:12], "keep": rows[1][:20]}
    for name, lines in parts.items():
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    one, two, keep = (str(folder / f"{name}.jsonl") for name in parts)
    recipe: dict[str, Any] = {
        "model": {"path": str(artifact_path("models/full"))},
        "data": {"format": "qa", "forget": one, "retain": keep},
        "adapter": {"initialization": "factored", "rank": 2},
        "training": {"epochs": 3, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 5e-3, "warmup": 0},
        "evaluation": {"max_new_tokens": 8},
    }
    plain = {**recipe, "adapter": {"initialization": "default", "rank": 2}}
    searching = {key: value for key, value in recipe["training"].items() if key != "learning_rate"}
    recipes = {
        "run": recipe,
        "tuning": {**plain, "training": searching, "tuning": {"trials": 3}},
        "continual": {**plain, "data": {**recipe["data"], "forget": [one, two]}},
        "finetune": recipe,
    }
    files = {kind: folder / f"{kind}.yaml" for kind in recipes}
    for kind, content in recipes.items():
        files[kind].write_text(yaml.safe_dump(content))
    return files


def work(kind: str, recipe: Path, output: Path, resume: bool) -> None:
    with output.with_name(f"{output.name}.log").open("a") as log:
        os.dup2(log.fileno(), 2)
        if kind == "finetune":
            finetune_recipe(recipe, on="full", output=output, resume=resume)
        else:
            unlearn(recipe, output=output, resume=resume)


def start(kind: str, recipe: Path, output: Path, resume: bool) -> Process:
    process = FORK.Process(target=work, args=(kind, recipe, output, resume))
    process.start()
    return process


def begun(kind: str, output: Path) -> bool:
    """Whether the work holds its folder: before that there is nothing to lose."""
    return (
        (output.with_name(f"{output.name}.finetuning") if kind == "finetune" else output)
        .joinpath(LOCK)
        .exists()
    )


def where(kind: str, output: Path) -> str:
    """What the work was at when it was killed, as its record says."""
    if kind == "finetune":
        steps = len(list(output.with_name(f"{output.name}.finetuning").glob("checkpoints/checkpoint-*")))
        return f"after {steps} checkpoints"
    folders = sorted(output.glob("requests/*"), reverse=True) if kind == "continual" else [output]
    for folder in folders:
        if (folder / "run.json").exists():
            phases = json.loads((folder / "run.json").read_text())["phases"]
            running = [name for name, phase in phases.items() if phase["state"] == "running"]
            request = f"{folder.name}: " if kind == "continual" else ""
            return request + (running[-1] if running else "between phases")
    return "before its record"


def finish(process: Process, output: Path) -> None:
    process.join()
    if process.exitcode:
        log = output.with_name(f"{output.name}.log").read_text()
        raise SystemExit(f"it ended with exit code {process.exitcode}:\n{log[-3000:]}")


def whole(kind: str, recipe: Path, output: Path) -> float:
    """Seconds from when it holds its folder to its end."""
    process = start(kind, recipe, output, resume=False)
    while not begun(kind, output) and process.is_alive():
        time.sleep(0.01)
    held = time.monotonic()
    finish(process, output)
    return time.monotonic() - held


def killed(kind: str, recipe: Path, output: Path, draw: random.Random, kills: int, tally: Tally) -> None:
    """Kill and resume until `kills` have struck or the work is over; then let it end, and count."""
    struck = 0
    while struck < kills:
        process = start(kind, recipe, output, resume=struck > 0)
        while not begun(kind, output) and process.is_alive():
            time.sleep(0.005)
        moment = time.monotonic() + draw.uniform(0, tally.seconds)
        while time.monotonic() < moment and process.is_alive():
            time.sleep(0.001)
        if not process.is_alive():  # over before the moment came
            finish(process, output)
            break
        process.kill()  # SIGKILL
        process.join()
        struck += 1
        tally.where[where(kind, output)] += 1
    tally.kills += struck
    finish(start(kind, recipe, output, resume=True), output)


def soak(recipes: dict[str, Path], folder: Path, kills: int, seed: int) -> dict[str, Tally]:
    tallies = {kind: Tally() for kind in recipes}
    for number, (kind, recipe) in enumerate(recipes.items()):
        tally, draw = tallies[kind], random.Random(f"{seed} {kind}")
        wanted = kills // len(recipes) + (number < kills % len(recipes))
        tally.seconds = whole(kind, recipe, folder / f"{kind}-whole")
        for attempt in itertools.count():
            if tally.kills >= wanted:
                break
            output, before = folder / f"{kind}-killed-{attempt}", tally.kills
            killed(kind, recipe, output, draw, min(3, wanted - tally.kills), tally)
            if tally.kills == before:
                continue  # the moment came after the end: nothing was interrupted
            tally.results += 1
            tally.equal += all(
                (output / file).read_bytes() == (folder / f"{kind}-whole" / file).read_bytes()
                for file in RESULTS[kind]
            )
            print(f"{kind}: {tally.kills} kills, {tally.equal} of {tally.results} results equal", flush=True)
    return tallies


def flips(run: Path, number: int, draw: random.Random, folder: Path) -> dict[str, list[int]]:
    """{what: [found, flipped]}; a bit is found where whoever reads the file refuses it."""
    checkpoint = sorted((run / "checkpoints").glob("checkpoint-*"))[-1]

    def read_checkpoint() -> None:
        """As the Trainer does before it goes on; the adapter's configuration there is read by nobody."""
        check_state(checkpoint)
        read_intact(load_file, checkpoint / "adapter_model.safetensors")

    kinds: dict[str, tuple[list[Path], Callable[[], Any]]] = {
        "adapter": (
            [file for file in (run / "adapter").iterdir() if file.name != "checksums.json"],
            lambda: export_run(run, "adapter", folder / "never"),
        ),
        "checkpoint": (
            [file for file in checkpoint.iterdir() if file.name not in UNREAD], read_checkpoint
        ),
        "evaluation logs": ([run / "eval" / f"{stage}.json" for stage in ("before", "after")],
                            lambda: check_finished(run)),
        "importance": ([run / "importance.safetensors"], lambda: read_run_folder(run)),
        "run.json (its form alone)": ([run / "run.json"], lambda: read_run_folder(run)),
    }  # fmt: skip
    counts = {}
    for what, (files, read) in kinds.items():
        found = 0
        for _ in range(number):
            file = draw.choice(files)
            content = file.read_bytes()
            changed = bytearray(content)
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
            file.write_bytes(changed)
            try:
                read()
            except InputError as error:
                found += all(str(file) in problem.where for problem in error.problems)
            finally:
                file.write_bytes(content)
        counts[what] = [found, number]
        print(f"{what}: {found} of {number} flipped bits found", flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(RESULTS), default=list(RESULTS))
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    recipes = {kind: file for kind, file in write_recipes(given.output).items() if kind in given.kinds}
    started = time.monotonic()
    tallies = soak(recipes, given.output, given.kills, given.seed)
    run = given.output / "run-whole"
    counts = (
        flips(run, given.flips, random.Random(f"{given.seed} flips"), given.output) if run.exists() else {}
    )
    content = {
        "seed": given.seed,
        "seconds": round(time.monotonic() - started),
        "kills": {kind: {**vars(tally), "where": dict(tally.where)} for kind, tally in tallies.items()},
        "flips": counts,
    }
    write_json(given.output / "soak.json", content)
    guarded = [pair for what, pair in counts.items() if "form alone" not in what]
    if any(tally.equal < tally.results for tally in tallies.values()) or any(
        found < of for found, of in guarded
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
