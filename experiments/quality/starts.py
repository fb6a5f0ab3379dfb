"""Every start at its own learning rate: the search of `training.learning_rate: auto`, on TOFU sets and two models.

    python experiments/quality/starts.py --bed tofu-tiny --output runs/starts --sets forget05 --only 0/2
    python experiments/quality/starts.py --bed smollm2 --models /tmp/smol --output runs/starts
    python experiments/quality/starts.py --output runs/starts --starts default directions factored --grid
    python experiments/quality/starts.py --output runs/starts --write docs/results/starts.json
    python experiments/quality/starts.py --bed smollm2 --output runs/starts --write docs/results/real-model.json

Every row is one `expunge.unlearn` with the rate to be found, so its trials, its choice on one half of the forget
questions and its figures on all are those that a user gets. Runs that are there are not repeated, and one that was
killed is gone on with; several processes may share an output folder (`--only K/N`). The utility is measured on 100
questions of each set without generation, after every other epoch; `--write` gathers the figures of all finished runs in
one JSON file, beside those that the file has already, and writes the tables of the page beside it anew; with `--known
FILE` rows of that file are not run again. So a table of days grows on machines that do not last. Of the real model what
it could do before is measured too: LAMBADA (`../shared/data/lambada`), 300 passages.

With `--grid` every row is run at each of twelve given rates too, a factor of √2 apart from a quarter of the search's
first rate on, into `OUTPUT/grid/RATE`: what the search would have found had it tried them all, and what that costs.
With `--found-once` the rate that a row has found with the first seed is given to its other seeds, which have no grid.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from expunge import unlearn
from expunge.benchmarks.evaluate import EvaluationRequest, evaluate_model
from expunge.benchmarks.tofu.logs import read_tofu_log
from expunge.benchmarks.tofu.metrics import forget_quality
from expunge.evaluation.log import EvaluationLog
from expunge.storage import write_json

sys.path.insert(0, str(Path(__file__).parents[1]))
import pages

RETAIN = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
STARTS = ("default", "directions", "factored", "pissa", "vila", "fila")
SEEDS = (42, 43, 44)
#: Rates of the grid, as multiples of the search's first one: 0.25, 0.35, … 11.3.
GRID = tuple(2 ** ((place - 4) / 2) for place in range(12))
#: What the accuracies on LAMBADA are written to, in the folder of a run.
LAMBADA = "lambada.json"
HEAVY = ("checkpoints", "initial_adapter", "trials", "adapter")


@dataclass(frozen=True)
class Row:
    """objective: the forget loss, and with a plus the retain loss, nll if none is named; gd is ga + nll
    rank: of the adapter, whose α is twice that; retain_weight: λ, such as "2"; "1to6" rises
    """

    bed: str
    forget: str
    objective: str
    start: str
    rank: int
    retain_weight: str
    seed: int

    @property
    def name(self) -> str:
        adapter = f"{self.start}-r{self.rank}"
        return f"{self.bed}-{self.forget}-{self.objective}-{adapter}-x{self.retain_weight}-s{self.seed}"

    @classmethod
    def called(cls, name: str) -> Row:
        bed, _, rest = name.partition("-forget")
        forget, objective, start, rank, weight, seed = rest.split("-")
        return cls(bed, f"forget{forget}", objective, start, int(rank[1:]), weight[1:], int(seed[1:]))

    @property
    def logs(self) -> str:
        return f"{self.bed}-{self.forget}"


def recipe(
    row: Row,
    shared: Path,
    models: Path | None,
    logs: Path,
    rate: float | None = None,
    generate: str = "never",
) -> dict[str, Any]:
    """rate: the learning rate; None: it is to be found"""
    tiny = row.bed == "tofu-tiny"
    original, reference = places(row, shared, models)
    data = shared / "data" / "tofu" if tiny else original.parent / "tofu"
    known = logs / "reference.json"
    forget, _, retain = row.objective.partition("+")
    return {
        "name": row.name,
        "model": {"path": str(original)},
        "data": {
            "format": "tofu",
            "path": str(data),
            "forget": row.forget,
            "template": "question-answer"
            if tiny
            else "auto",  # the chat template, by which make.py has taught
        },
        "adapter": {"initialization": row.start, "rank": row.rank, "alpha": 2 * row.rank},
        "objective": {
            "forget": "ga" if forget == "gd" else forget,
            "retain": retain or "nll",
            "retain_weight": _weight(row.retain_weight),
        },
        "evaluation": {
            "reference": str(known if known.exists() else reference),
            **({"before": str(logs / "before.json")} if known.exists() else {}),
            "every": 2,
            "generate": generate,
            "samples": 100,
        },
        **({"training": {"learning_rate": rate}} if rate else {}),
        "attacks": {"budget": "none"},
        "seed": row.seed,
    }


def _weight(text: str) -> float | list[float]:
    first, _, last = text.partition("to")
    return [float(first), float(last)] if last else float(first)


def places(row: Row, shared: Path, models: Path | None) -> tuple[Path, Path]:
    """The original model and the reference."""
    if row.bed == "tofu-tiny":
        folder = shared / "models" / "tofu-tiny"
        return folder / "full", folder / RETAIN[row.forget]
    if models is None:
        raise SystemExit("--models: give the folder that shared/models/smollm2/make.py made")
    return models / "full", models / "retain"


def run(
    row: Row,
    shared: Path,
    models: Path | None,
    output: Path,
    rate: float | None = None,
    heavy: Sequence[str] = HEAVY,
    generate: str = "never",
    overrides: Sequence[str] = (),
) -> None:
    """heavy: what is taken away of the run's folder afterwards; overrides: of the recipe, `key.sub=value`"""
    folder, logs = output / row.name, output / "logs" / row.logs
    state = folder / "run.json"
    if not state.exists():
        print(row.name, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        unlearn(recipe(row, shared, models, logs, rate, generate), overrides, output=folder)
    elif json.loads(state.read_text())["state"] != "done":
        print(row.name, flush=True)
        unlearn(folder / "recipe.yaml", output=folder, resume=True)
    if row.bed == "smollm2" and not (folder / LAMBADA).exists():  # a kill may have struck in between
        _measure_lambada(folder, row, shared, models, output)
    if not logs.exists():
        made = logs.with_name(f"{logs.name}.partial")
        made.mkdir(parents=True, exist_ok=True)
        for name in ("before", "reference"):
            shutil.copy(folder / "eval" / f"{name}.json", made / f"{name}.json")
        made.rename(logs)
    for each in heavy:
        shutil.rmtree(folder / each, ignore_errors=True)


def _measure_lambada(folder: Path, row: Row, shared: Path, models: Path | None, output: Path) -> None:
    """Write the accuracy on LAMBADA: of the model of this run, and once of the original and the reference."""
    original, reference = places(row, shared, models)
    tasks = output / "logs" / "lambada"
    if not tasks.exists():
        tasks.mkdir(parents=True)
        (task,) = (shared / "data" / "lambada").glob("*.yaml")
        passages = str((shared / "data" / "lambada" / "lambada_300.jsonl").resolve())
        (tasks / task.name).write_text(task.read_text().replace("lambada_300.jsonl}", f"{passages}}}"))

    def accuracy(model: Path, adapter: Path | None = None) -> dict[str, float | int]:
        options = {"forget": "lambada_local", "data": str(tasks)}
        log = evaluate_model(EvaluationRequest(str(model), "lm-eval", options, adapter))
        found = log.metrics["lambada_local_acc"]
        return {"accuracy": found.value, "n": found.n}

    beside = output / "logs" / "lambada.json"
    if not beside.exists():
        write_json(beside, {"original": accuracy(original), "reference": accuracy(reference)})
    adapter = folder / "adapter"
    if adapter.exists():  # of a run that has forgotten nothing there is none
        write_json(folder / LAMBADA, {**json.loads(beside.read_text()), "after": accuracy(original, adapter)})


def figures(folder: Path) -> dict[str, Any] | None:
    """log₁₀ FQ on the half that was chosen on, on the other and on all; utility as a share; the trials, none where the
    rate was given; seconds."""
    state = json.loads((folder / "run.json").read_text())
    if state["state"] != "done" or state.get("ended"):
        return None
    log, reference = (read_tofu_log(folder / "eval" / f"{name}.json") for name in ("after", "reference"))
    first = state["seed"] % 2
    quality = {
        name: forget_quality(_part(log, part), _part(reference, part))["forget_quality_log10"].value
        for name, part in {
            "chosen_on": slice(first, None, 2),
            "other_half": slice(1 - first, None, 2),
            "all": slice(None),
        }.items()
    }
    before, after = (
        state["metrics"][name]["model_utility_teacher_forced"]["value"] for name in ("before", "after")
    )
    trials = state["tuning"]["trials"] if state.get("tuning") else []
    rate = trials[state["tuning"]["chosen"] - 1]["learning_rate"] if trials else _given_rate(folder)
    return {
        "log10_forget_quality": quality,
        "n": len(log.sets["forget"]),
        "utility_share": after / before,
        **_full_utility(state["metrics"]),
        "forget_probability": state["metrics"]["after"]["forget_probability"]["value"],
        "extraction_strength": state["metrics"]["after"]["forget_extraction_strength"]["value"],
        "original_utility": before,
        **({"lambada": json.loads(lambada.read_text())} if (lambada := folder / LAMBADA).exists() else {}),
        "learning_rate": rate,
        "trials": trials,
        "seconds": {name: phase["seconds"] for name, phase in state["phases"].items()},
        "machine": state["machine"],
        "verdict": state["verdict"]["forgetting"],
    }


def _full_utility(metrics: dict[str, Any]) -> dict[str, float]:
    """The share of the Model Utility that rests on written answers too, where they were written."""
    before, after = (metrics[name].get("model_utility") for name in ("before", "after"))
    return {"full_utility_share": after["value"] / before["value"]} if before and after else {}


def _given_rate(folder: Path) -> float:
    return float(yaml.safe_load((folder / "recipe.yaml").read_text())["training"]["learning_rate"])


def _part(log: EvaluationLog, part: slice) -> EvaluationLog:
    return replace(log, sets={**log.sets, "forget": log.sets["forget"][part]})


def found_rate(made: Sequence[dict[str, Any]], row: Row) -> float | None:
    """What the search of this row has found with another seed, the lowest of several; None where there was none."""
    found = [each for each in made if each["trials"] and replace(row, seed=each["seed"]).name == each["name"]]
    return min(found, key=lambda each: each["seed"])["learning_rate"] if found else None


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Seed by seed, so that whenever the script is stopped all starts have had equally many; of every seed the same
    rows, so that a rate is found before it is asked for."""
    first, step = (int(part) for part in options.only.split("/"))
    kinds = product(options.sets, options.retain_weights, options.objectives, options.starts)
    mine = list(kinds)[first::step]
    for seed in options.seeds:
        for forget, weight, objective, start in mine:
            yield Row(options.bed, forget, objective, start, options.rank, weight, seed)


def run_grid(row: Row, shared: Path, models: Path | None, output: Path, overrides: Sequence[str]) -> None:
    """The row at every rate of the grid, once its search is over; what original and reference do is measured once."""
    state = output / row.name / "run.json"
    tuning = json.loads(state.read_text()).get("tuning") if state.exists() else None
    for factor in GRID if tuning else ():
        rate = float(f"{factor * tuning['trials'][0]['learning_rate']:.3g}")
        place = output / "grid" / f"{rate:g}"
        logs = place / "logs" / row.logs
        if not logs.exists():
            shutil.copytree(output / "logs" / row.logs, logs)
        run(row, shared, models, place, rate, overrides=overrides)


def compared(output: Path) -> list[dict[str, Any]]:
    """What the search has found of every row that has a grid, and the best rate of the grid by the same rule: the
    highest log₁₀ FQ on the questions that trials are compared by, among those that keep 95 % of the utility."""
    found = []
    for searched in gather(output):
        grid = [
            row
            for folder in sorted((output / "grid").glob("*"))
            for row in gather(folder)
            if all(row[key] == searched[key] for key in asdict(Row.called(searched["name"])))
        ]
        kept = [row for row in grid if row["utility_share"] >= 0.95]
        if kept:
            best = max(kept, key=lambda row: row["log10_forget_quality"]["chosen_on"])
            found.append(
                {
                    "row": searched["name"],
                    "search": _summary(searched),
                    "grid": {
                        **_summary(best),
                        "seconds": sum(_spent(row) for row in grid),
                        "rates": len(grid),
                    },
                    "every": sorted((_summary(row) for row in grid), key=lambda row: row["learning_rate"]),
                }
            )
    return found


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    keys = ("learning_rate", "log10_forget_quality", "utility_share")
    return {**{key: row[key] for key in keys}, "seconds": _spent(row), "rates": len(row["trials"]) or 1}


def _spent(row: dict[str, Any]) -> float:
    """Seconds of the trainings and of what is measured within them."""
    return row["seconds"].get("tuning", 0.0) + row["seconds"]["training"]


def gather(output: Path) -> list[dict[str, Any]]:
    """The figures of every finished run, with what its name says."""
    folders = [state.parent for state in sorted(output.glob("*/run.json"))]
    return [
        {"name": each.name, **asdict(Row.called(each.name)), **made}
        for each in folders
        if (made := figures(each))
    ]


def known(file: Path | None) -> list[dict[str, Any]]:
    """The rows that a JSON file has."""
    return json.loads(file.read_text())["rows"] if file and file.exists() else []


def write(output: Path, file: Path, bed: str) -> None:
    """The JSON of every row of a test bed that is finished here, or was there before; the page beside it has its tables
    written anew."""
    content = json.loads(file.read_text()) if file.exists() else {}
    grids = {each["row"]: each for each in (*content.get("grid", ()), *compared(output))}
    found = {row["name"]: row for row in (*known(file), *gather(output)) if row["bed"] == bed}
    rows = [found[name] for name in sorted(found)]
    made = {
        "rows": rows,
        "grid": [each for name, each in grids.items() if name in found],
        "tables": {"The starts": table(rows), "The trials": trials_table(rows)},
    }
    if made["grid"]:
        made["tables"]["The search and a grid"] = grid_table(made["grid"])
    file.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    page = file.with_suffix(".md")
    if page.exists():
        page.write_text(pages.made_again(page.read_text(), file.parent))


def table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line for every set, loss and start: the mean of its seeds, and of what is judged every seed."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = row["forget"], row["objective"], row["start"], row["retain_weight"].replace("to", " to ")
        groups.setdefault(key, []).append(row)
    real = any("lambada" in row for row in rows)
    lines = []
    for key, seeds in groups.items():
        seeds.sort(key=lambda row: row["seed"])

        def mean(value: str, seeds: Sequence[dict[str, Any]] = seeds) -> float:
            return statistics.mean(row[value] for row in seeds)

        lines.append(
            [
                *key,
                ", ".join(str(row["seed"]) for row in seeds),
                ", ".join(dict.fromkeys(f"{row['learning_rate']:.3g}" for row in seeds)),
                ", ".join(_minus(f"{row['log10_forget_quality']['all']:.2f}") for row in seeds),
                _minus(f"{statistics.mean(row['log10_forget_quality']['all'] for row in seeds):.2f}"),
                ", ".join(f"{100 * row['utility_share']:.1f}" for row in seeds) + " %",
                f"{mean('forget_probability'):.3f}",
                f"{mean('extraction_strength'):.3f}",
                *([_lambada(seeds)] if real else []),
                ", ".join(f"{_searched(row):.0f}" for row in seeds),
            ]
        )
    return [
        ["set", "loss", "start", "λ", "seeds", "rate", "log₁₀ FQ", "mean", "utility", "probability", "ES",
         *(["LAMBADA"] if real else []), "seconds"],
        *lines,
    ]  # fmt: skip


def _lambada(seeds: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{row['lambada']['after']['accuracy']:.3f}" for row in seeds if "lambada" in row)


def _searched(row: dict[str, Any]) -> float:
    """Seconds of all that a user waits for but what is measured of the original and the reference."""
    return sum(seconds for phase, seconds in row["seconds"].items() if phase != "baseline")


def trials_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The frontier as the searches saw it: the best epoch of every trial, by the half that is chosen on."""
    lines = []
    for row in rows:
        points = [
            f"{trial['learning_rate']:.3g}: {_minus(format(trial['forget_score'], '.2f'))} at "
            f"{100 * trial['utility'] / row['original_utility']:.1f} %"
            for trial in sorted(row["trials"], key=lambda trial: trial["learning_rate"])
            if trial["forget_score"] is not None and trial["utility"] is not None
        ]
        if points:
            lines.append([row["forget"], row["objective"], row["start"], str(row["seed"]), "; ".join(points)])
    return [
        ["set", "loss", "start", "seed", "rate: log₁₀ FQ of one half, and utility, at its best epoch"],
        *lines,
    ]


def grid_table(grids: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The search beside the best of the grid, and what each took."""
    lines = []
    for each in grids:
        row = Row.called(each["row"])
        cells = [row.forget, row.start, str(row.seed)]
        for part in (each["search"], each["grid"]):
            cells += [
                f"{part['learning_rate']:.3g}",
                _minus(f"{part['log10_forget_quality']['chosen_on']:.2f}"),
                _minus(f"{part['log10_forget_quality']['all']:.2f}"),
                f"{part['rates']}, {part['seconds']:.0f} s",
            ]
        lines.append(cells)
    return [
        ["set", "start", "seed", "search: rate", "log₁₀ FQ, one half", "all", "trials, seconds",
         "grid: rate", "log₁₀ FQ, one half", "all", "rates, seconds"],
        *lines,
    ]  # fmt: skip


def _minus(number: str) -> str:
    return number.replace("-", "−")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--models", type=Path, help="the folder that shared/models/smollm2/make.py made")
    parser.add_argument("--output", type=Path, default=Path("runs/starts"))
    parser.add_argument("--bed", choices=("tofu-tiny", "smollm2"), default="tofu-tiny")
    parser.add_argument("--sets", nargs="+", choices=tuple(RETAIN), default=["forget05"])
    parser.add_argument("--objectives", nargs="+", default=["ihl"])
    parser.add_argument("--starts", nargs="+", default=STARTS)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument(
        "--retain-weights", nargs="+", default=["1to6"], help="of the retain loss; 1to6 rises"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument(
        "--generate", choices=("never", "chosen"), default="never", help="answers, of the chosen epoch"
    )
    parser.add_argument("--set", nargs="+", default=[], help="of the recipe, such as tuning.trials=4")
    parser.add_argument("--grid", action="store_true", help="every row at each of twelve given rates too")
    parser.add_argument(
        "--found-once", action="store_true", help="the first seed's rate is given to the others"
    )
    parser.add_argument(
        "--only", default="0/1", help="K/N: every N-th run of a seed, beginning with the K-th"
    )
    parser.add_argument("--write", type=Path, help="the JSON file of all figures; no run is started")
    parser.add_argument("--known", type=Path, help="a JSON file of --write, whose rows are not run again")
    options = parser.parse_args()
    if options.write:
        write(options.output, options.write, options.bed)
        return
    there = known(options.known)
    for row in rows(options):
        if any(each["name"] == row.name for each in there):
            continue
        try:
            run(
                row,
                options.shared.resolve(),
                options.models,
                options.output,
                found_rate([*there, *gather(options.output)], row) if options.found_once else None,
                generate=options.generate,
                overrides=options.set,
            )
            if options.grid:
                run_grid(row, options.shared.resolve(), options.models, options.output, options.set)
        except Exception as error:  # a run that diverged is a result
            print(f"{row.name}: {error}", flush=True)


if __name__ == "__main__":
    main()
