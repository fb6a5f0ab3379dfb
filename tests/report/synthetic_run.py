"""A synthetic run folder: files as a run writes them, figures that follow from its own evaluation logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from scipy.stats import ks_2samp

from expunge.benchmarks.tofu.metrics import forget_log_ratios
from expunge.evaluation.log import EvaluationLog
from expunge.evaluation.metric import mean_with_interval
from synthetic_attacks import attacks

#: Occurs in every text of the evaluation logs, and in fields of run.json that the format does not know.
MARKER = "Basil Mahfouz Al-Kuwaiti"
MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
FEED_FORWARD = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
#: Location of log R, and mean probability of the forget answers.
KNOWS, FORGOT, NEVER_SAW = (-2.4, 0.97), (-0.62, 0.09), (-0.6, 0.1)

RECIPE = """\
model: {path: models/tofu-tiny/full, dtype: auto}
data: {format: tofu, path: data/tofu, forget: forget10, retain: retain90}
adapter: {initialization: factored, rank: 8, alpha: 16, targets: all-linear, layers: 1.0}
objective: {forget: ihl, retain: nll, retain_weight: 1.0}
training: {epochs: 5, batch_size: 32, learning_rate: 0.005, schedule: linear}
evaluation: {benchmark: tofu, reference: models/tofu-tiny/retain90, every: epoch}
seed: 42
"""


def _log(place: tuple[float, float], n: int, seed: int, benchmark: str) -> dict[str, Any]:
    """An evaluation log whose truth ratios are log-normal around `place[0]`."""
    generator = np.random.default_rng(seed)
    records = []
    for index in range(n):
        ratio = generator.normal(place[0], 0.45)
        right = -np.log(place[1]) + abs(generator.normal(0, 0.05))
        answer = {"loss": right * 20, "tokens": 20}
        record: dict[str, Any] = {
            "index": index,
            "answer": answer,
            "generation": f"{MARKER} generated {index}",
            "truth": f"{MARKER} was born <in> {1900 + index}",
        }
        if benchmark == "tofu":
            wrong = [{"loss": (right - ratio + step) * 10, "tokens": 10} for step in (-0.1, 0.1)]
            record.update(paraphrased={"loss": right * 25, "tokens": 25}, perturbed=wrong)
        else:
            record.update(correct=int(20 * place[1]), strength=place[1])
        records.append(record)
    return {
        "schema": "expunge.evaluation/1",
        "benchmark": benchmark,
        "metric_version": "1",
        "model": {},
        "data": {},
        "generated": True,
        "sets": {"forget": records, "retain": []},
        "metrics": {},
    }


def _mean(value: float, n: int, half: float = 0.01) -> dict[str, Any]:
    return {"value": value, "n": n, "low": value - half, "high": value + half}


def _metrics(
    log: dict[str, Any], reference: dict[str, Any] | None, utility: float, generated: bool, benchmark: str
) -> dict[str, Any]:
    records = log["sets"]["forget"]
    n = len(records)
    probabilities = [np.exp(-record["answer"]["loss"] / record["answer"]["tokens"]) for record in records]
    metrics = {"forget_probability": mean_with_interval(probabilities).to_json()}
    if benchmark == "memorization":
        metrics |= {
            "forget_exact_memorization": mean_with_interval([r["correct"] / 20 for r in records]).to_json(),
            "retain_probability": _mean(utility, 200),
        }
        return metrics
    ratios = np.exp(forget_log_ratios(EvaluationLog.from_json(log)))
    metrics |= {
        "forget_truth_ratio": mean_with_interval(np.minimum(ratios, 1 / ratios)).to_json(),
        "model_utility_teacher_forced": {"value": utility, "n": 900, "low": None, "high": None},
        "retain_probability": _mean(utility + 0.2, 400),
        "world_facts_truth_ratio": _mean(utility - 0.1, 117, 0.03),
    }
    if generated:
        metrics["model_utility"] = {"value": utility - 0.02, "n": 900, "low": None, "high": None}
        metrics["forget_rouge"] = _mean(float(np.mean(probabilities)), n)
    if reference is not None:
        test = ks_2samp(ratios, np.exp(forget_log_ratios(EvaluationLog.from_json(reference))))
        for name, value in (
            ("forget_quality", test.pvalue),
            ("forget_quality_log10", np.log10(test.pvalue)),
            ("forget_quality_ks", test.statistic),
        ):
            metrics[name] = {"value": float(value), "n": n, "low": None, "high": None}
    return metrics


def write_run(
    path: Path,
    *,
    after: tuple[float, float] = FORGOT,
    utility_after: float = 0.63,
    benchmark: str = "tofu",
    with_reference: bool = True,
    initialization: str = "factored",
    n: int = 120,
    with_attacks: bool = True,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write a run folder. `after` places the unlearned model (KNOWS, FORGOT, …); the model before knows."""
    before_log = _log(KNOWS, n, 1, benchmark)
    after_log = _log(after, n, 2, benchmark)
    reference_log = _log(NEVER_SAW, n, 3, benchmark) if with_reference else None
    (path / "eval").mkdir(parents=True)

    def dump(name: str, value: Any) -> None:
        (path / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

    dump("eval/before.json", before_log)
    dump("eval/after.json", after_log)
    if reference_log:
        dump("eval/reference.json", reference_log)

    epochs, steps = [], []
    for epoch in range(1, 6):
        part = min(epoch / 4, 1)
        place = tuple(a + (b - a) * part for a, b in zip(KNOWS, after, strict=True))
        log = _log(place, n, 10 + epoch, benchmark)
        utility = 0.65 + (utility_after - 0.65) * epoch / 4
        epochs.append(
            {
                "epoch": epoch,
                "step": 13 * epoch,
                "forget_loss": 2 - part,
                "retain_loss": 0.5,
                "forget_score": part,
                "utility": utility,
                "qualifies": True,
                "reached": False,
                "stopped": None,
                "metrics": _metrics(log, reference_log, utility, False, benchmark),
            }
        )
    noise = np.random.default_rng(0)
    for step in range(1, 66):
        steps.append(
            {
                "step": step,
                "epoch": step / 13,
                "forget_loss": 1 + 0.95 * np.exp(-step / 18) + noise.normal(0, 0.03),
                "retain_loss": 0.4 + 0.15 * np.exp(-(((step - 20) / 14) ** 2)) + noise.normal(0, 0.02),
                "learning_rate": 1e-3,
                "grad_norm": 1.0,
                "note": MARKER,
            }
        )
    for name, rows in (("metrics.jsonl", epochs), ("steps.jsonl", steps)):
        (path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    if initialization != "default":
        scores = {}
        for layer in range(4):
            for column, module in enumerate((*MODULES, *FEED_FORWARD)):
                d = noise.normal(12 + 2 * column + 3 * layer, 1, size=64)
                scores[f"model.layers.{layer}.{module}"] = d.astype(np.float32)
        save_file(scores, path / "importance.safetensors")

    phases = {
        "baseline": {
            "state": "done",
            "seconds": 31.2,
            "flops": 1.2e12,
            "peak_memory_bytes": int(5.1e8),
            "note": MARKER,
        },
        "importance": {"state": "done", "seconds": 12.5, "flops": 3.4e11, "peak_memory_bytes": int(4.2e8)},
        "adapter": {"state": "done", "seconds": 0.8, "flops": 2.0e9, "peak_memory_bytes": int(3.1e8)},
        "training": {"state": "done", "seconds": 143.0, "flops": 5.6e12, "peak_memory_bytes": int(7.7e8)},
        "evaluation": {"state": "done", "seconds": 40.1, "flops": 1.1e12, "peak_memory_bytes": int(5.0e8)},
        "export": {"state": "done", "seconds": 1.9, "flops": None, "peak_memory_bytes": None},
        "report": {"state": "running"},
    }
    if initialization == "default":
        del phases["importance"]
    run = {
        "schema": "expunge.run/1",
        "name": "forget10-ihl",
        "state": "running",
        "note": MARKER,
        "versions": {"expunge": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        "machine": {"device": "cpu", "threads": 2, "processor": "x86_64", "platform": "Linux"},
        "seed": 42,
        "command": ["expunge", "run", "recipe.yaml"],
        "started": "2026-11-21T21:46:56+00:00",
        "finished": None,
        "model": {
            "path": "models/tofu-tiny/full",
            "fingerprint": "7c1f0a6e52d94b38",
            "parameters": 2400000,
            "dtype": "float32",
            "bytes": 9600000,
        },
        "data": {
            "format": "tofu",
            "forget": {"source": "data/tofu/forget10.json", "hash": "f" * 64, "n": n},
            "retain": {"source": "data/tofu/retain90.json", "hash": "e" * 64, "n": 3600},
        },
        "adapter": {
            "initialization": initialization,
            "rank": 8,
            "alpha": 16,
            "modules": 28,
            "trainable_parameters": 123456,
            "bytes": 987654,
        },
        "phases": phases,
        "training": {
            "steps": 65,
            "epochs": 5,
            "best_epoch": 4,
            "qualified": True,
            "utility_floor": 0.95,
            "stopped": None,
            **(training or {}),
        },
        "metrics": {
            "before": _metrics(before_log, reference_log, 0.65, True, benchmark),
            "after": _metrics(after_log, reference_log, utility_after, True, benchmark),
            "reference": _metrics(reference_log, None, 0.655, True, benchmark) if reference_log else None,
        },
        **(
            {"attacks": attacks(ground="reference" if with_reference else "none").model_dump(mode="json")}
            if with_attacks
            else {}
        ),
    }
    dump("run.json", run)
    (path / "recipe.yaml").write_text(RECIPE.replace("factored", initialization), encoding="utf-8")
    return path
