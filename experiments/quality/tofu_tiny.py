"""TOFU on the laptop test bed: every objective with every initialisation, and the table of what came out.

    python experiments/quality/tofu_tiny.py --shared ../shared --output runs/tofu-tiny --write docs/results/tofu-tiny.md

One run a row, by the same `expunge.unlearn` as `expunge run`. The original and the reference are measured once for
each forget set; later rows take these logs over (`evaluation.before`, `evaluation.reference`). Runs that are there
already are gone on with, so the script may be stopped at any time. `--only K/N` takes every N-th run, for several
processes side by side.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
from pathlib import Path
from typing import Any

from expunge import unlearn

RETAIN = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
INITIALIZATIONS = ("default", "pissa", "fila", "vila", "factored")
#: forget10: one learning rate an objective, for every initialisation.
RATES = {"ihl": 5e-3, "gd": 3e-4, "npo": 1e-3}
#: forget01 and forget05: a learning rate for each initialisation.
OWN_RATES = {
    "forget05": {"default": 1e-2, "pissa": 5e-3, "factored": 5e-3},
    "forget01": {"default": 1e-2, "pissa": 5e-3, "factored": 5e-3},
}
EPOCHS = {"forget01": 4, "forget05": 5, "forget10": 5}
#: An evaluation takes longer than an epoch here, so for the larger sets the last epoch alone is a candidate.
EVALUATED = {
    "forget01": {"every": "epoch", "generate": "chosen"},
    "forget05": {"every": 5, "generate": "chosen"},
    "forget10": {"every": 5, "generate": "chosen"},
}


def rows() -> list[tuple[str, str, str, float]]:
    """(forget set, objective, initialisation, learning rate) of every run."""
    at_one_rate = [
        ("forget10", objective, initialization, rate)
        for objective, rate in RATES.items()
        for initialization in INITIALIZATIONS
    ]
    at_own_rates = [
        (forget, "ihl", initialization, rate)
        for forget, rates in OWN_RATES.items()
        for initialization, rate in rates.items()
    ]
    return [*at_one_rate[: len(INITIALIZATIONS)], *at_own_rates, *at_one_rate[len(INITIALIZATIONS) :]]


def recipe(shared: Path, forget: str, objective: str, initialization: str, rate: float) -> dict[str, Any]:
    return {
        "name": f"{forget}-{objective}-{initialization}-{rate:g}",
        "model": {"path": str(shared / "models" / "tofu-tiny" / "full")},
        "data": {"format": "tofu", "path": str(shared / "data" / "tofu"), "forget": forget},
        "adapter": {"initialization": initialization, "rank": 8, "alpha": 16},
        "importance": {"batch_size": 16},
        "objective": {"forget": objective, "retain_weight": 1.0},
        "training": {
            "epochs": EPOCHS[forget],
            "batch_size": 32,
            "warmup": "1 epoch",
            "learning_rate": rate,
            "micro_batch_size": 16,
        },
        "evaluation": {
            "reference": str(shared / "models" / "tofu-tiny" / RETAIN[forget]),
            "max_new_tokens": 60,
            **EVALUATED[forget],
        },
    }


def run(shared: Path, output: Path, row: tuple[str, str, str, float]) -> Path:
    made = recipe(shared, *row)
    logs = output / "logs" / row[0]
    if (logs / "reference.json").exists():
        made["evaluation"] |= {"reference": str(logs / "reference.json"), "before": str(logs / "before.json")}
    folder = output / made["name"]
    state = folder / "run.json"
    if not state.exists() or json.loads(state.read_text())["state"] != "done":
        unlearn(folder / "recipe.yaml" if state.exists() else made, output=folder, resume=state.exists())
    if not logs.exists():
        logs.mkdir(parents=True)
        for name in ("before", "reference"):
            (logs / f"{name}.json").write_text((folder / "eval" / f"{name}.json").read_text())
    return folder


def table(folders: list[tuple[tuple[str, str, str, float], Path]], forget: str) -> list[str]:
    found = [
        "| objective | initialisation | learning rate | best epoch | log₁₀ FQ | MU | MU, share of original | without "
        "ROUGE, share of original | forget prob. | seconds: importance, adapter, training with its evaluations, "
        "generation |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row, folder in folders:
        if row[0] != forget or not (folder / "run.json").exists():
            continue
        state = json.loads((folder / "run.json").read_text())
        if state["state"] != "done":
            continue
        before, after = state["metrics"]["before"], state["metrics"]["after"]
        shares = [
            after[name]["value"] / before[name]["value"]
            for name in ("model_utility", "model_utility_teacher_forced")
        ]
        seconds = {name: phase["seconds"] for name, phase in state["phases"].items()}
        best = f"{state['training']['best_epoch']}" + (
            "" if state["training"]["qualified"] else " (under 95 %)"
        )
        found.append(
            f"| {row[1]} | {row[2]} | {row[3]:g} | {best} | {after['forget_quality_log10']['value']:.2f} | "
            f"{after['model_utility']['value']:.4f} | {shares[0]:.1%} | {shares[1]:.1%} | "
            f"{after['forget_probability']['value']:.3f} | {seconds.get('importance', 0):.0f}, "
            f"{seconds['adapter']:.0f}, {seconds['training']:.0f}, {seconds['evaluation']:.0f} |"
        )
    return found


def original(folders: list[tuple[tuple[str, str, str, float], Path]], forget: str) -> str:
    for row, folder in folders:
        if row[0] == forget and (folder / "run.json").exists():
            metrics = json.loads((folder / "run.json").read_text())["metrics"]
            before, reference = metrics["before"], metrics["reference"]
            quality = before["forget_quality_log10"]
            return (
                f"N = {quality['n']} forget questions. Original: log₁₀ FQ {quality['value']:.2f}, MU "
                f"{before['model_utility']['value']:.4f}, forget probability "
                f"{before['forget_probability']['value']:.3f}. Reference ({RETAIN[forget]}): MU "
                f"{reference['model_utility']['value']:.4f}, forget probability "
                f"{reference['forget_probability']['value']:.3f}."
            )
    return ""


def write(path: Path, folders: list[tuple[tuple[str, str, str, float], Path]], text: str) -> None:
    """Replace what stands between the markers by the tables; the words around them are written by hand."""
    states = [
        json.loads(state.read_text()) for _, folder in folders if (state := folder / "run.json").exists()
    ]
    here = states[0]["machine"]
    lines = [
        f"Made {datetime.date.today()} by `python experiments/quality/tofu_tiny.py --only 0/2` and `1/2` side by side, "
        f"then `--write {path}`, on {here['processor']}, {here['cores']} cores, "
        f"{here['threads']} thread(s) a process; one seed ({states[0]['seed']}).",
    ]
    for forget in ("forget10", "forget05", "forget01"):
        body = table(folders, forget)
        if len(body) > 2:
            lines += ["", f"## {forget}", "", original(folders, forget), "", *body]
    begin, end = "<!-- tables -->", "<!-- end of tables -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--output", type=Path, default=Path("runs/tofu-tiny"))
    parser.add_argument("--only", default="0/1", help="K/N: every N-th run, beginning with the K-th")
    parser.add_argument("--write", type=Path, help="the file whose tables are made anew; no run is started")
    options = parser.parse_args()
    shared = options.shared.resolve()
    every = [(row, options.output / recipe(shared, *row)["name"]) for row in rows()]
    if options.write:
        write(options.write, every, options.write.read_text() if options.write.exists() else "")
        return
    first, step = (int(part) for part in options.only.split("/"))
    for row, _ in every[first::step]:
        folder = run(shared, options.output, row)
        after = json.loads((folder / "run.json").read_text())["metrics"]["after"]
        assert math.isfinite(after["model_utility"]["value"])


if __name__ == "__main__":
    main()
