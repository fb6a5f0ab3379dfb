"""Kills at random moments, disks that are full, bits that flip: what is lost, and what is found.

    OMP_NUM_THREADS=1 python experiments/soak/soak.py --kills 30 --disks 10 --flips 100 --seed 0 --output /tmp/soak

The model is the quickstart's (0.9 million parameters), the data are a few of its invented people. Six kinds of work: a
run, a run that looks for its learning rate (tuning), two requests one after another (continual), a finetuning, the
attacks on a finished run, the second request of a ledger. Each is done once without interruption; then, for every kill,
it is begun anew, ended by SIGKILL at a moment drawn from the time that it took, gone on with by --resume, and its
result compared with that of the uninterrupted one. A work that was over before its moment came is thrown away, and
drawn again, `DRAWS` times at the most. Then runs are begun on disks that are too small (tmpfs, which root alone may
mount: `--disks 0` leaves that out), of sizes drawn at random, and gone on with once the disk has grown. Then bits are
flipped in finished files, one at a time, at places drawn at random, and whoever reads the file is asked.

The work is done in processes that are forked from this one, which has loaded the libraries and nothing else: on a busy
machine these take most of the time. Writes `soak.json` and prints the counts; ends with exit code 1 where a result
differs, a full disk is not told, or a flipped bit is not found.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkProcess as Process
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file

from expunge.errors import InputError, RunFailed
from expunge.folder.attacks import AttackFolder
from expunge.folder.checksums import check_finished
from expunge.folder.ledger import LedgerFolder
from expunge.folder.requests import ContinualFolder
from expunge.folder.run import read_run_folder
from expunge.intact import read_intact, read_object
from expunge.ledger.add import add
from expunge.ledger.verify import verify_ledger
from expunge.quickstart import artifact_path, write_people
from expunge.run.attacked import attack_run
from expunge.run.export import export_run
from expunge.run.finetune import RECORD, SCHEMA, finetune_recipe
from expunge.run.unlearn import unlearn
from expunge.storage import LOCK, read_json, write_json
from expunge.training.weights import check_state

FORK = get_context("fork")
#: How often a kill is drawn, until it finds its work running.
DRAWS = 20
#: The exit code of a work that says in a sentence that it cannot go on.
SAID = 3
#: Files of a checkpoint that no resume reads: the first is what the others are compared with.
UNREAD = ("checksums.json", "adapter_config.json")
WEIGHTS = "adapter_model.safetensors"
#: Keys that say when something was, or how long it took.
TIMES = ("seconds", "started", "finished", "done", "received")


@dataclass(frozen=True)
class Work:
    """One kind. do: begins it in a folder, or goes on; result: what has to be equal; before: a folder to begin from"""

    do: Callable[[Path, bool], Any]
    result: Callable[[Path], Any]
    before: Path | None = None


@dataclass
class Tally:
    """Of one kind of work.

    seconds: from when it holds its folder to its end, the shortest that was not interrupted
    kills:   that found it running; equal: of these, results that are those of the uninterrupted one
    missed:  moments that came after the end
    where:   what the work was at when it was killed, as its record says
    """

    seconds: float = 0.0
    kills: int = 0
    equal: int = 0
    missed: int = 0
    where: list[str] = field(default_factory=list)


def write_data(folder: Path) -> dict[str, str]:
    """The files of two forget sets and one retain set."""
    people = folder / "people"
    write_people(people)
    rows = [(people / f"{name}.json").read_text().splitlines() for name in ("forget10", "retain90")]
    parts = {"one": rows[0][:6], "two": rows[0][6:12], "keep": rows[1][:20]}
    for name, lines in parts.items():
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return {name: str(folder / f"{name}.jsonl") for name in parts}


def works(folder: Path) -> dict[str, Work]:
    data = write_data(folder)
    recipe: dict[str, Any] = {
        "model": {"path": str(artifact_path("models/full"))},
        "data": {"format": "qa", "forget": data["one"], "retain": data["keep"]},
        "adapter": {"initialization": "factored", "rank": 2},
        "training": {"epochs": 3, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 5e-3, "warmup": 0},
        "evaluation": {"max_new_tokens": 8},
        "attacks": {"budget": "none"},
    }
    plain = {**recipe, "adapter": {"initialization": "default", "rank": 2}}
    searching = {key: value for key, value in recipe["training"].items() if key != "learning_rate"}
    recipes = {
        "run": recipe,
        "tuning": {**plain, "training": searching, "tuning": {"trials": 3}},
        "continual": {**plain, "data": {**recipe["data"], "forget": [data["one"], data["two"]]}},
        "finetune": {**recipe, "training": {**recipe["training"], "epochs": 12}},
        "first": plain,
        "second": {**plain, "data": {**recipe["data"], "forget": data["two"]}},
    }
    files = {name: folder / f"{name}.yaml" for name in recipes}
    for name, content in recipes.items():
        files[name].write_text(yaml.safe_dump(content))

    def of_run(name: str, *results: str) -> Work:
        return Work(
            lambda output, resume: unlearn(files[name], output=output, resume=resume),
            lambda output: [(output / file).read_bytes() for file in results],
        )

    return {
        "run": of_run("run", f"adapter/{WEIGHTS}", "importance.safetensors", "steps.jsonl"),
        "tuning": of_run("tuning", f"adapter/{WEIGHTS}", "steps.jsonl"),
        "continual": of_run(
            "continual", *(f"{place}adapter/{WEIGHTS}" for place in ("", "requests/1/", "requests/2/"))
        ),
        "finetune": Work(
            lambda output, resume: finetune_recipe(
                files["finetune"], on="full", output=output, resume=resume
            ),
            lambda output: [(output / file).read_bytes() for file in ("model.safetensors", "steps.jsonl")],
        ),
        "attack": Work(lambda output, _: attack_run(output, None, "cheap"), attacked, folder / "run-whole"),
        "first request": Work(lambda output, resume: add(output, files["first"], resume=resume), entered),
        "ledger": Work(
            lambda output, resume: add(output, files["second"], resume=resume),
            entered,
            folder / "first request-whole",
        ),
    }


#: What each kind begins from has to be made before it.
MADE_BEFORE = {"attack": "run", "ledger": "first request"}
KINDS = ("run", "tuning", "continual", "finetune", "attack", "ledger")


def attacked(output: Path) -> Any:
    """What every attack measured, what was concluded from it, and the verdict."""
    state = read_json(output / "run.json")
    records = [read_json(file) for file in sorted((output / "attacks").glob("*.json"))]
    return without(
        TIMES, [state["attacks"], state["verdict"], *({**each, "checksum": None} for each in records)]
    )


def entered(output: Path) -> Any:
    """What the ledger hands over, and of the last entry all that no time, secret salt or path is in."""
    ledger = LedgerFolder(output)
    failed = [check.said for check in verify_ledger(output) if check.holds is False]
    entry = ledger.entries[-1].model_dump(mode="json")
    entry["facts"].pop("forget_set")
    private = sorted(entry.pop("private"))
    weights = [
        (folder / WEIGHTS).read_bytes() for folder in (ledger.adapter, ledger.run(ledger.count).adapter)
    ]
    return [without((*TIMES, "previous", "recipe"), entry), private, ledger.count, weights, failed]


def without(keys: tuple[str, ...], value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without(keys, inner) for key, inner in value.items() if key not in keys}
    return [without(keys, inner) for inner in value] if isinstance(value, list) else value


def start(work: Work, output: Path, resume: bool) -> Process:
    def child() -> None:
        with output.with_name(f"{output.name}.log").open("a") as log:
            os.dup2(log.fileno(), 2)
            try:
                work.do(output, resume)
            except RunFailed as error:
                print(error, file=sys.stderr, flush=True)
                sys.exit(SAID)

    process = FORK.Process(target=child)
    process.start()
    return process


def held(output: Path) -> bool:
    """Whether the work holds its folder, or did when it was killed: before and after that there is nothing to lose."""
    places = (output, output.with_name(f"{output.name}.finetuning"))
    return any((place / LOCK).exists() for place in places)


def wait_until_held(process: Process, output: Path) -> float:
    while not held(output) and process.is_alive():
        time.sleep(0.002)
    return time.monotonic()


def finish(process: Process, output: Path) -> None:
    process.join()
    if process.exitcode:
        log = output.with_name(f"{output.name}.log").read_text()
        raise SystemExit(f"{output.name} ended with exit code {process.exitcode}:\n{log[-3000:]}")


def whole(work: Work, output: Path) -> float:
    """Do it without interruption; seconds from when it holds its folder to its end."""
    begin(work, output)
    process = start(work, output, resume=False)
    since = wait_until_held(process, output)
    finish(process, output)
    return time.monotonic() - since


def begin(work: Work, output: Path) -> None:
    for place in (output, output.with_name(f"{output.name}.finetuning")):
        shutil.rmtree(place, ignore_errors=True)
    if work.before:
        shutil.copytree(work.before, output)


def interrupt(work: Work, output: Path, draw: random.Random, tally: Tally) -> float:
    """Begin it and kill it while it runs; the share of its time that it was given."""
    for _ in range(DRAWS):
        begin(work, output)
        share = draw.random()
        process = start(work, output, resume=False)
        since = wait_until_held(process, output)
        while time.monotonic() < since + share * tally.seconds and process.is_alive():
            time.sleep(0.001)
        process.kill()  # SIGKILL
        process.join()
        if process.exitcode == -signal.SIGKILL and held(output):
            return share
        if process.exitcode != -signal.SIGKILL:
            finish(process, output)
        tally.missed += 1
        tally.seconds = min(tally.seconds, time.monotonic() - since)
    raise SystemExit(f"{output.name}: {DRAWS} moments in a row came after its end")


def where(output: Path) -> str:
    """What the work was at when it was killed, as the newest record in its folder says."""
    work = output.with_name(f"{output.name}.finetuning")
    if work.exists():
        return f"after {len(list(work.glob('checkpoints/checkpoint-*')))} checkpoints"
    records = sorted(output.rglob("run.json"), key=lambda file: file.stat().st_mtime)
    if not records:
        return "before its record"
    phases = read_json(records[-1])["phases"]
    running = [name for name, phase in phases.items() if phase["state"] == "running"]
    attacks = len(list((output / "attacks").glob("*.json")))
    place = records[-1].parent.relative_to(output).as_posix()
    return f"{place}: {running[-1] if running else f'between phases, {attacks} attacks recorded'}"


def soak(work: Work, kind: str, folder: Path, kills: int, seed: int) -> Tally:
    tally, draw = Tally(whole(work, folder / f"{kind}-whole")), random.Random(f"{seed} {kind}")
    wanted = work.result(folder / f"{kind}-whole")
    for number in range(kills):
        output = folder / f"{kind}-killed-{number}"
        share = interrupt(work, output, draw, tally)
        tally.kills += 1
        tally.where.append(f"{share:.2f} of its time, {where(output)}")
        finish(start(work, output, resume=True), output)
        equal = work.result(output) == wanted
        tally.equal += equal
        print(f"{kind}: killed at {tally.where[-1]}: {'equal' if equal else 'DIFFERS'}", flush=True)
        if equal:
            shutil.rmtree(output)
    return tally


def full_disks(work: Work, folder: Path, number: int, draw: random.Random) -> list[dict[str, Any]]:
    """Runs on disks that are too small for them: how large each was, where the run ended, whether that was said and
    recorded, and whether the result is that of the uninterrupted run once there is room."""
    wanted = work.result(folder / "run-whole")
    needed = sum(file.stat().st_size for file in (folder / "run-whole").rglob("*") if file.is_file())
    ended: list[dict[str, Any]] = []
    while len(ended) < number:
        output = folder / f"disk-{len(ended)}"
        output.mkdir(exist_ok=True)
        size = round(draw.uniform(0.05, 1) * needed)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", output], check=True)
        try:
            process = start(work, output, resume=False)
            process.join()
            if process.exitcode == 0:  # it had room
                continue
            state = read_json(output / "run.json")
            told = "No space left on device" in output.with_name(f"{output.name}.log").read_text()
            place = where(output)
            subprocess.run(["mount", "-o", f"remount,size={4 * needed}", output], check=True)
            finish(start(work, output, resume=True), output)
            ended.append(
                {
                    "kilobytes": size // 1000,
                    "where": place,
                    "said": process.exitcode == SAID and told and state["state"] == "failed",
                    "equal": work.result(output) == wanted,
                }
            )
            print(f"full disk: {ended[-1]}", flush=True)
        finally:
            subprocess.run(["umount", output], check=True)
    return ended


def readers(folder: Path) -> dict[str, tuple[list[Path], Callable[[Path], Any]]]:
    """{what: files, who reads them}, of the works that were done."""
    run, found = folder / "run-whole", {}

    def read_checkpoint(file: Path) -> None:
        """As the Trainer does before it goes on; the adapter's configuration there is read by nobody."""
        check_state(file.parent)
        read_intact(load_file, file.parent / WEIGHTS)

    def read_attack(file: Path) -> None:
        AttackFolder(file.parent).read(file.stem, basis="")

    def read_entries(_: Path) -> None:
        LedgerFolder(folder / "ledger-whole").entries  # noqa: B018  (reads them all, and ledger.json)

    if run.exists():
        checkpoint = sorted((run / "checkpoints").glob("checkpoint-*"))[-1]
        found |= {
            "adapter": (
                [file for file in (run / "adapter").iterdir() if file.name != "checksums.json"],
                lambda _: export_run(run, "adapter", folder / "never"),
            ),
            "checkpoint": (
                [file for file in checkpoint.iterdir() if file.name not in UNREAD], read_checkpoint
            ),
            "evaluation logs": ([run / "eval" / f"{stage}.json" for stage in ("before", "after")],
                                lambda _: check_finished(run)),
            "importance": ([run / "importance.safetensors"], lambda _: read_run_folder(run)),
            "run.json": ([run / "run.json"], lambda _: read_run_folder(run)),
        }  # fmt: skip
    more: dict[str, tuple[list[Path], Callable[[Path], Any]]] = {
        "continual.json": (
            [folder / "continual-whole" / "continual.json"], lambda file: ContinualFolder(file.parent).state
        ),
        "finetune.json": (
            [folder / "finetune-whole" / RECORD], lambda file: read_object(file, "a record", (), schema=SCHEMA)
        ),
        "records of attacks": (sorted((folder / "attack-whole" / "attacks").glob("*.json")), read_attack),
        "ledger.json and entries": (
            [folder / "ledger-whole" / name for name in ("ledger.json", "entries/0001.json", "entries/0002.json")],
            read_entries,
        ),
    }  # fmt: skip
    return found | {what: each for what, each in more.items() if each[0] and each[0][0].exists()}


def flips(folder: Path, number: int, draw: random.Random) -> dict[str, list[int]]:
    """{what: [found, flipped]}; a bit is found where whoever reads the file refuses it, and names it."""
    counts = {}
    for what, (files, read) in readers(folder).items():
        found = 0
        for _ in range(number):
            file = draw.choice(files)
            content = file.read_bytes()
            changed = bytearray(content)
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
            file.write_bytes(changed)
            try:
                read(file)
            except InputError as error:
                found += all(str(file) in problem.where for problem in error.problems)
            finally:
                file.write_bytes(content)
        counts[what] = [found, number]
        print(f"{what}: {found} of {number} flipped bits found", flush=True)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="over all kinds")
    parser.add_argument("--flips", type=int, default=100, help="for each kind of file")
    parser.add_argument(
        "--disks", type=int, default=10, help="that are too small for a run; 0 where nobody may mount"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    known, started, tallies = works(given.output), time.monotonic(), {}
    for place, kind in enumerate(given.kinds):
        if (needed := MADE_BEFORE.get(kind)) and not (given.output / f"{needed}-whole").exists():
            whole(known[needed], given.output / f"{needed}-whole")
        kills = given.kills // len(given.kinds) + (place < given.kills % len(given.kinds))
        tallies[kind] = soak(known[kind], kind, given.output, kills, given.seed)
    disks = []
    if given.disks and "run" in given.kinds:
        disks = full_disks(known["run"], given.output, given.disks, random.Random(f"{given.seed} disks"))
    counts = flips(given.output, given.flips, random.Random(f"{given.seed} flips"))
    content = {
        "seed": given.seed,
        "seconds": round(time.monotonic() - started),
        "kills": {kind: vars(tally) for kind, tally in tallies.items()},
        "disks": disks,
        "flips": counts,
    }
    write_json(given.output / "soak.json", content)
    print(json.dumps({kind: f"{each.equal} of {each.kills}" for kind, each in tallies.items()}))
    whole_again = all(tally.equal == tally.kills for tally in tallies.values())
    told = all(disk["said"] and disk["equal"] for disk in disks)
    sys.exit(0 if whole_again and told and all(found == of for found, of in counts.values()) else 1)


if __name__ == "__main__":
    main()
