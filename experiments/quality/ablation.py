"""VILA's ablation in small, and the learning rate that carries over: TOFU forget05 on the laptop test bed.

    python experiments/quality/ablation.py --shared ../shared --output runs/ablation --stage curves
    python experiments/quality/ablation.py --shared ../shared --output runs/ablation --stage search
    python experiments/quality/ablation.py --shared ../shared --output runs/ablation --stage seeds
    python experiments/quality/ablation.py --shared ../shared --output runs/ablation --stage layers
    python experiments/quality/ablation.py --output runs/ablation --write docs/results/ablation.md

Every trial is one `expunge.unlearn`; the search of a row is one `expunge sweep` over listed trials, in `search/ROW`.
Trials that are there are not repeated, so the script may be stopped at any time, and several may run side by side on
one output folder (`--only K/N`; the searches share themselves out). The utility is measured on 100 questions of each
set without generation (`evaluation.samples`, `generate: never`); the forget quality on all 200 forget questions. A
row's trial is chosen on the even forget questions and reported on the odd ones and on all.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from safetensors.torch import load_file
from scipy.stats import spearmanr

from expunge import unlearn
from expunge.benchmarks.tofu.logs import read_tofu_log
from expunge.benchmarks.tofu.metrics import forget_quality
from expunge.evaluation.log import EvaluationLog
from expunge.folder.sweep import SweepFolder
from expunge.sweep.search import sweep

FORGET, REFERENCE = "forget05", "retain95"
UTILITY_SHARE = 0.95
COMPARED = ("default", "pissa", "fila", "vila", "factored")
ABLATED = ("variance", "lora_fisher", "expectation", "absolute")
CURVE_RATES = {
    "none": (1.25e-3, 2.5e-3, 5e-3, 1e-2, 2e-2),
    "initialization": (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2),
}
#: The same trials for every initialisation of an objective: (learning rate, λ), rates scaled by the initialisation.
TRIALS = {
    "ihl": ((1e-2, 1.0), (5e-3, 1.0), (2e-2, 1.0), (1e-2, 2.0), (2e-2, 2.0), (2e-2, 4.0)),
    "gd": ((5e-3, 2.0), (3e-3, 2.0), (8e-3, 4.0), (5e-3, 4.0), (3e-3, 4.0), (8e-3, 2.0)),
    "npo": ((1e-2, 20.0), (5e-3, 10.0), (1e-2, 10.0), (2e-2, 20.0), (5e-3, 5.0), (1e-2, 40.0)),
}
RATE, WEIGHT = "training.learning_rate", "objective.retain_weight"
SEEDS = (42, 43, 44)


@dataclass(frozen=True)
class Trial:
    objective: str
    initialization: str
    scale: str
    rate: float
    retain_weight: float = 1.0
    seed: int = 42
    layers: float = 1.0

    @property
    def name(self) -> str:
        # LoRA's default start is not changed by the scale: both curves share its runs.
        scale = "" if self.initialization == "default" else f"-{self.scale}"
        layers = "" if self.layers == 1.0 else f"-layers{self.layers:g}"
        return (
            f"{self.objective}-{self.initialization}{scale}-{self.rate:g}-x{self.retain_weight:g}-s{self.seed}"
            f"{layers}"
        )

    def recipe(self, shared: Path, logs: Path | None = None) -> dict[str, Any]:
        """logs: a folder with those of the original and the reference, once a run has measured them"""
        return {
            "name": self.name,
            "model": {"path": str(shared / "models" / "tofu-tiny" / "full")},
            "data": {"format": "tofu", "path": str(shared / "data" / "tofu"), "forget": FORGET},
            "adapter": {"initialization": self.initialization, "rank": 8, "alpha": 16, "layers": self.layers},
            "importance": {"batch_size": 16},
            "objective": {"forget": self.objective, "retain": "nll", "retain_weight": self.retain_weight}
            | ({"forget": "ga"} if self.objective == "gd" else {}),
            "training": {
                "epochs": 5,
                "batch_size": 32,
                "warmup": "1 epoch",
                "learning_rate": self.rate,
                "learning_rate_scale": self.scale,
                "micro_batch_size": 16,
            },
            "evaluation": {
                "reference": str(shared / "models" / "tofu-tiny" / REFERENCE),
                **(
                    {side: str(logs / f"{side}.json") for side in ("before", "reference")}
                    if logs and logs.exists()
                    else {}
                ),
                "every": 5,
                "generate": "never",
                "samples": 100,
            },
            "seed": self.seed,
        }


def run(trial: Trial, shared: Path, output: Path) -> None:
    folder, logs = output / trial.name, output / "logs"
    state = folder / "run.json"
    if state.exists() and json.loads(state.read_text())["state"] in ("done", "failed"):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        unlearn(trial.recipe(shared, logs), output=folder)
    except Exception as error:  # a diverged trial is a result
        print(f"{trial.name}: {error}")
        return
    if not logs.exists():
        logs.mkdir(parents=True)
        for name in ("before", "reference"):
            shutil.copy(folder / "eval" / f"{name}.json", logs / f"{name}.json")
    for heavy in ("checkpoints", "adapter", "initial_adapter"):
        shutil.rmtree(folder / heavy, ignore_errors=True)


def curves(places: Sequence[int] = (2, 3, 1)) -> list[Trial]:
    """The rates at these places of the curves, for every initialisation: the middle first, the ends (4, 0) last."""
    trials = [
        Trial("ihl", initialization, scale, rates[place])
        for place in places
        for scale, rates in CURVE_RATES.items()
        for initialization in COMPARED
    ]
    return list({trial.name: trial for trial in trials}.values())


def search(shared: Path, output: Path) -> None:
    """Trial by trial over all rows, so that whenever it is stopped all rows have had equally many."""
    for trials in range(1, 1 + max(map(len, TRIALS.values()))):
        for objective, initialization in rows():
            listed = [{RATE: rate, WEIGHT: weight} for rate, weight in TRIALS[objective]]
            first = Trial(objective, initialization, "initialization", *TRIALS[objective][0])
            sweep(
                first.recipe(shared) | {"name": f"{objective}-{initialization}"},
                listed,
                trials=min(trials, len(listed)),
                prune=False,
                output=searched(objective, initialization, output).path,
                resume=True,
            )


def searched(objective: str, initialization: str, output: Path) -> SweepFolder:
    return SweepFolder(output / "search" / f"{objective}-{initialization}")


def seeds(output: Path) -> list[Trial]:
    """The chosen trial of every row with the remaining seeds."""
    chosen = [choice.trial for choice in choices(output) if choice]
    return [replace(trial, seed=seed) for seed in SEEDS[1:] for trial in chosen]


def layers() -> list[Trial]:
    return [Trial("ihl", "vila", "initialization", 1e-2, layers=share) for share in (0.25, 0.5, 0.75, 1.0)]


@dataclass(frozen=True)
class Result:
    """log₁₀ FQ on the even forget questions, the odd ones and all; the utility as a share of the original's."""

    trial: Trial
    even: float
    odd: float
    every: float
    utility: float
    forget_probability: float

    @property
    def qualifies(self) -> bool:
        return self.utility >= UTILITY_SHARE


@cache
def result(trial: Trial, output: Path) -> Result | None:
    """What a finished trial found; None where it is not there. A trial that diverged lost all utility."""
    folder = output / trial.name
    state = folder / "run.json"
    if not state.exists():
        return _searched_result(trial, output)
    found = json.loads(state.read_text())
    if found["state"] == "failed":
        return Result(trial, -math.inf, -math.inf, -math.inf, 0.0, math.nan)
    if found["state"] != "done":
        return None
    log, reference = (
        read_tofu_log(folder / "eval" / "after.json"),
        read_tofu_log(output / "logs" / "reference.json"),
    )
    quality = [
        forget_quality(_part(log, part), _part(reference, part))["forget_quality_log10"].value
        for part in (slice(0, None, 2), slice(1, None, 2), slice(None))
    ]
    before, after = (
        found["metrics"][name]["model_utility_teacher_forced"]["value"] for name in ("before", "after")
    )
    return Result(trial, *quality, after / before, found["metrics"]["after"]["forget_probability"]["value"])


def _searched_result(trial: Trial, output: Path) -> Result | None:
    """What a row's search found; its seed is even, so that it chose by the even questions."""
    folder = searched(trial.objective, trial.initialization, output)
    # LoRA's default start is not changed by the scale.
    scaled = trial.scale == "initialization" or trial.initialization == "default"
    if not (scaled and trial.seed == SEEDS[0] and trial.layers == 1.0 and folder.state_file.exists()):
        return None
    values = {RATE: trial.rate, WEIGHT: trial.retain_weight}
    each = next((each for each in folder.state.begun if each.values == values), None)
    if each is None or each.result is None:
        return None
    if each.result.choosing is None:
        return Result(trial, -math.inf, -math.inf, -math.inf, 0.0, math.nan)
    scores = (each.result.choosing, each.result.reporting, each.result.score)
    probability = folder.trial(each.number).metrics("after")["forget_probability"].value
    return Result(trial, *scores, each.result.share, probability)


def _part(log: EvaluationLog, part: slice) -> EvaluationLog:
    return replace(log, sets={**log.sets, "forget": log.sets["forget"][part]})


def rows() -> list[tuple[str, str]]:
    """(objective, initialisation) of the ablation's table."""
    return [("ihl", name) for name in (*COMPARED, *ABLATED)] + [
        (objective, name) for objective in ("gd", "npo") for name in COMPARED
    ]


def finished(objective: str, initialization: str, output: Path) -> list[Result]:
    """The results of a row's search, of the trials that every row it is compared with has finished as well."""
    together = ABLATED if initialization in ABLATED else COMPARED
    found = [
        [result(Trial(objective, name, "initialization", *pair), output) for pair in TRIALS[objective]]
        for name in together
    ]
    own = found[together.index(initialization)]
    return [each for each, same in zip(own, zip(*found, strict=True), strict=True) if each and all(same)]


def choices(output: Path) -> list[Result | None]:
    """For each row the best finished trial on the even questions that keeps the utility, else the most useful one."""
    found: list[Result | None] = []
    for objective, initialization in rows():
        results = finished(objective, initialization, output)
        kept = [each for each in results if each.qualifies]
        if kept:
            found.append(max(kept, key=lambda each: each.even))
        else:
            found.append(max(results, key=lambda each: each.utility, default=None))
    return found


def curve_table(output: Path, scale: str) -> list[str]:
    rates = CURVE_RATES[scale]
    lines = [
        "| initialisation | " + " | ".join(f"{rate:g}" for rate in rates) + " | best rate |",
        "| --- |" + " --- |" * (len(rates) + 1),
    ]
    for initialization in COMPARED:
        found = [result(Trial("ihl", initialization, scale, rate), output) for rate in rates]
        cells = [f"{each.every:.2f} / {each.utility:.1%}" if each else "" for each in found]
        kept = [each for each in found if each and each.qualifies]
        best = f"{max(kept, key=lambda each: each.every).trial.rate:g}" if kept else "none keeps 95 %"
        lines.append(f"| {initialization} | " + " | ".join(cells) + f" | {best} |")
    return lines


def curve_figure(output: Path, file: Path) -> None:
    """log₁₀ FQ and utility over the learning rate, before and after the remedy."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharey="row", layout="constrained")
    titles = {"none": "as it comes", "initialization": "scaled by the initialisation"}
    for column, scale in enumerate(CURVE_RATES):
        for initialization in COMPARED:
            found = [result(Trial("ihl", initialization, scale, rate), output) for rate in CURVE_RATES[scale]]
            there = [each for each in found if each and math.isfinite(each.every)]
            rates = [each.trial.rate for each in there]
            axes[0][column].plot(rates, [each.every for each in there], marker="o", label=initialization)
            axes[1][column].plot(rates, [each.utility for each in there], marker="o", label=initialization)
        axes[0][column].set_title(f"learning rate {titles[scale]}")
        axes[1][column].axhline(UTILITY_SHARE, color="grey", linewidth=0.8, linestyle="--")
        for axis in axes[:, column]:
            axis.set_xscale("log")
            axis.set_xticks(CURVE_RATES[scale], [f"{rate:g}" for rate in CURVE_RATES[scale]])
            axis.minorticks_off()
        axes[1][column].set_xlabel("learning rate")
    axes[0][0].set_ylabel("log₁₀ forget quality (N = 200)")
    axes[1][0].set_ylabel("utility, share of the original")
    axes[0][0].legend()
    figure.savefig(file, metadata={"Date": None})


def ablation_table(output: Path) -> list[str]:
    lines = [
        "| objective | initialisation | trials | chosen rate / λ | even half (chosen on) | odd half | all | utility | "
        "all, over seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (objective, initialization), best in zip(rows(), choices(output), strict=True):
        if best is None:
            continue
        done = len(finished(objective, initialization, output))
        seeded = [each for seed in SEEDS if (each := result(replace(best.trial, seed=seed), output))]
        values = [each.every for each in seeded]
        spread = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} (N = {len(values)})" if (
            len(values) > 1) else "one seed"  # fmt: skip
        mark = "" if best.qualifies else " (under 95 %)"
        lines.append(
            f"| {objective} | {initialization} | {done} of {len(TRIALS[objective])} | {best.trial.rate:g} / "
            f"{best.trial.retain_weight:g} | {best.even:.2f} | {best.odd:.2f} | {best.every:.2f} | "
            f"{best.utility:.1%}{mark} | {spread} |"
        )
    return lines


def fixed_rate_table(output: Path) -> list[str]:
    lines = ["| objective | initialisation | rate / λ | log₁₀ FQ | utility | forget probability |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for objective, initialization in rows():
        rate, weight = (1e-2, 1.0) if objective == "ihl" else TRIALS[objective][0]
        each = result(Trial(objective, initialization, "initialization", rate, weight), output)
        if each:
            lines.append(f"| {objective} | {initialization} | {rate:g} / {weight:g} | {each.every:.2f} | "
                         f"{each.utility:.1%} | {each.forget_probability:.3f} |")  # fmt: skip
    return lines


def correlation_table(output: Path) -> list[str]:
    """Spearman correlation with `variance` of the row importances, mean and range over the layers."""
    measured = {}
    for name in ("variance", "fila", "vila", "lora_fisher", "expectation", "absolute", "factored"):
        files = sorted(output.glob(f"ihl-{name}-*-s42/importance.safetensors"))
        files += sorted(output.glob(f"search/ihl-{name}/trials/*/importance.safetensors"))
        if files:
            measured[name] = load_file(files[0])
    if "variance" not in measured:
        return ["`variance` has not been measured yet."]
    lines = ["| estimator | mean | lowest | highest | layers |", "| --- | --- | --- | --- | --- |"]
    for name, found in measured.items():
        values = [float(spearmanr(found[layer], measured["variance"][layer]).statistic) for layer in found]
        lines.append(
            f"| {name} | {statistics.mean(values):.3f} | {min(values):.3f} | {max(values):.3f} | {len(values)} |"
        )
    return lines


def layers_table(output: Path) -> list[str]:
    lines = ["| share of the blocks | log₁₀ FQ | utility | forget probability |", "| --- | --- | --- | --- |"]
    for trial in layers():
        each = result(trial, output)
        if each:
            lines.append(
                f"| {trial.layers:.0%} | {each.every:.2f} | {each.utility:.1%} | {each.forget_probability:.3f} |"
            )
    return lines


def write(path: Path, output: Path) -> None:
    """Fill the places between markers `<!-- NAME -->` and `<!-- end -->` with the tables; the words stay."""
    curve_figure(output, path.with_name("learning-rate.svg"))
    files = [file for runs in ("*", "search/*/trials/*") for file in sorted(output.glob(f"{runs}/run.json"))]
    states = [json.loads(file.read_text()) for file in files]
    here = states[0]["machine"]
    tables = {
        "machine": [f"{len(states)} runs on {here['processor']}, {here['cores']} cores, {here['threads']} thread(s) a "
                    f"process, fp32; made {datetime.date.today()}."],
        "curves before": curve_table(output, "none"),
        "curves after": curve_table(output, "initialization"),
        "ablation": ablation_table(output),
        "fixed rate": fixed_rate_table(output),
        "correlation": correlation_table(output),
        "layers": layers_table(output),
    }  # fmt: skip
    text = path.read_text()
    for name, lines in tables.items():
        before, marker, rest = text.partition(f"<!-- {name} -->")
        if marker:
            _, end, after = rest.partition("<!-- end -->")
            text = before + marker + "\n" + "\n".join(lines) + "\n" + end + after
    path.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument(
        "--stage", choices=("curves", "ends", "search", "seeds", "layers"), action="append", default=[]
    )
    parser.add_argument("--only", default="0/1", help="K/N: every N-th trial, beginning with the K-th")
    parser.add_argument("--write", type=Path, help="the file whose tables are made anew; no trial is started")
    options = parser.parse_args()
    if options.write:
        write(options.write, options.output)
        return
    shared = options.shared.resolve()
    first, step = (int(part) for part in options.only.split("/"))
    for stage in options.stage:
        if stage == "search":
            search(shared, options.output)
            continue
        trials: Sequence[Trial] = {
            "curves": curves,
            "ends": lambda: curves((4, 0)),
            "seeds": lambda: seeds(options.output),
            "layers": layers,
        }[stage]()
        for trial in trials[first::step]:
            run(trial, shared, options.output)


if __name__ == "__main__":
    main()
