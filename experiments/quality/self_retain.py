"""What it costs to have no retain set: TOFU forget05 on the laptop test bed, with retain95 and with `retain: self`.

    python experiments/quality/self_retain.py --shared ../shared --output runs/self-retain
    python experiments/quality/self_retain.py --output runs/self-retain --table

Every trial is one `expunge.unlearn` (ihl, LoRA's default initialisation, 5 epochs); trials that are there are not
repeated. Forget Quality is of all 200 forget questions, utility of 100 questions of each set, without generation.
`own answers` tells the two halves of the cost apart: the true questions of retain95, answered by the original model as
`retain: self` has it answer its own questions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge import unlearn
from expunge.adapters.loading import load_model
from expunge.data.encoding import Encoder
from expunge.evaluation.sampling import sampled_continuations
from expunge.folder.run import read_run_folder
from expunge.models.loading import load_tokenizer
from expunge.models.settings import Model
from expunge.storage import read_json_lines, write_json_lines

FORGET, RETAIN = "forget05", "retain95"
SPLITS = {"retain95": RETAIN, "self": "self", "none": RETAIN, "own answers": "own_answers"}
MAX_LENGTH = 512


@dataclass(frozen=True)
class Trial:
    retain: str
    loss: str = "nll"
    weight: float = 1.0
    seed: int = 42
    samples: int | None = None
    rate: float = 1e-2

    @property
    def name(self) -> str:
        count = f"-n{self.samples}" if self.samples else ""
        return (
            f"{self.retain.replace(' ', '_')}{count}-{self.loss}-x{self.weight:g}-r{self.rate:g}-s{self.seed}"
        )

    def recipe(self, shared: Path, output: Path) -> dict[str, Any]:
        logs = output / "logs"
        known = (logs / "reference.json").exists()
        own = {"self_folder": str(output / "surrogate"), "self_samples": self.samples}
        return {
            "name": self.name,
            "model": {"path": str(shared / "models" / "tofu-tiny" / "full")},
            "data": {
                "format": "tofu",
                "path": str(output / "tofu"),
                "forget": FORGET,
                "retain": SPLITS[self.retain],
                **(own if self.retain == "self" else {}),
            },
            "adapter": {"initialization": "default", "rank": 8, "alpha": 16},
            "objective": {
                "forget": "ihl",
                "retain": "none" if self.retain == "none" else self.loss,
                "retain_weight": self.weight,
            },
            "training": {
                "epochs": 5,
                "batch_size": 32,
                "warmup": "1 epoch",
                "learning_rate": self.rate,
                "micro_batch_size": 16,
            },
            "evaluation": {
                "reference": str(
                    logs / "reference.json" if known else shared / "models" / "tofu-tiny" / RETAIN
                ),
                **({"before": str(logs / "before.json")} if known else {}),
                "every": 5,
                "generate": "never",
                "samples": 100,
            },
            "seed": self.seed,
        }


def prepare(shared: Path, output: Path) -> None:
    """TOFU's files beside one of our own: retain95's questions with answers that the original model samples."""
    folder = output / "tofu"
    file = folder / "own_answers.json"
    if file.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for source in (shared / "data" / "tofu").glob("*.json"):
        link = folder / source.name
        if not link.exists():
            os.symlink(source, link)
    model = Model(path=str(shared / "models" / "tofu-tiny" / "full"))
    encoder = Encoder(load_tokenizer(model), max_length=MAX_LENGTH)
    questions = [row["question"] for row in read_json_lines(folder / f"{RETAIN}.json")][::4]
    prompts = [encoder.prompt(question) for question in questions]
    answers = sampled_continuations(
        load_model(model),
        encoder.tokenizer,
        prompts,
        [(42, number) for number in range(len(prompts))],
        [MAX_LENGTH - len(prompt) for prompt in prompts],
    )
    texts = [encoder.tokenizer.decode(answer.ids, skip_special_tokens=True).strip() for answer in answers]
    rows = [
        {"question": question, "answer": text}
        for question, text, answer in zip(questions, texts, answers, strict=True)
        if text and answer.ended
    ]
    write_json_lines(file, rows)


def run(trial: Trial, shared: Path, output: Path) -> None:
    folder, logs = output / trial.name, output / "logs"
    state = folder / "run.json"
    if state.exists() and json.loads(state.read_text())["state"] in ("done", "failed"):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        unlearn(trial.recipe(shared, output), output=folder)
    except Exception as error:  # a diverged trial is a result
        print(f"{trial.name}: {error}")
        return
    if not logs.exists():
        logs.mkdir(parents=True)
        for name in ("before", "reference"):
            shutil.copy(folder / "eval" / f"{name}.json", logs / f"{name}.json")
    for heavy in ("checkpoints", "adapter", "initial_adapter"):
        shutil.rmtree(folder / heavy, ignore_errors=True)


def trials() -> list[Trial]:
    found = [
        Trial("retain95"),
        *(Trial("self", weight=weight) for weight in (1.0, 0.6, 0.4, 0.3)),
        Trial("self", "kl", 0.3),
        Trial("own answers"),
        Trial("none"),
    ]
    for seed in (43, 44):
        found += [Trial("retain95", seed=seed), Trial("self", weight=0.4, seed=seed)]
    return found


def table(output: Path) -> str:
    """A row a trial that is over."""
    lines = [
        "| retain set | retain loss | λ | learning rate | seed | log₁₀ FQ | utility | share | forget probability | "
        "retain probability | seconds of training |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for trial in trials():
        if not (output / trial.name / "run.json").exists():
            continue
        state = read_run_folder(output / trial.name).document
        if state["state"] != "done":
            lines.append(f"| {trial.retain} | {trial.loss} | {trial.weight:g} | {trial.rate:g} | {trial.seed} | "
                         f"{state['state']} | | | | | |")  # fmt: skip
            continue
        before, after = state["metrics"]["before"], state["metrics"]["after"]
        utility, original = (side["model_utility_teacher_forced"]["value"] for side in (after, before))
        samples = state["data"]["retain"]["n"] if trial.retain != "none" else 0
        lines.append(
            f"| {trial.retain} ({samples}) | {trial.loss if samples else 'none'} | {trial.weight:g} | {trial.rate:g} | "
            f"{trial.seed} | {after['forget_quality_log10']['value']:.2f} | {utility:.4f} | {utility / original:.1%} | "
            f"{after['forget_probability']['value']:.3f} | {after['retain_probability']['value']:.3f} | "
            f"{state['phases']['training']['seconds']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--output", type=Path, default=Path("runs/self-retain"))
    parser.add_argument("--only", help="beginning of the trials' names")
    parser.add_argument("--table", action="store_true", help="print the results that are there")
    options = parser.parse_args()
    if options.table:
        print(table(options.output))
        return
    shared, output = options.shared.resolve(), options.output.resolve()
    prepare(shared, output)
    for trial in trials():
        if trial.name.startswith(options.only or ""):
            run(trial, shared, output)


if __name__ == "__main__":
    main()
