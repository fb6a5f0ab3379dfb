"""The large test: Llama-2-7B's shape with random weights in bf16 on a GPU, samples of TOFU's lengths.

    python experiments/speed/gpu.py --shared ../shared

The result is written anew after every row, so that what was measured is there whatever follows. Our rows are repeated
(wall seconds, median, lowest and highest), the research code's are measured once.

Extraction for `fila`, `vila` and `factored` on 40, 200 and 400 forget samples with as many retain samples;
initialisation; five epochs of ihl, npo and gd at batch 32; and the research code's procedure on the same machine in
the same run, of which a few batches are timed and scaled up. Share of peak (MFU): operations that the phase needs for
the real tokens, over what bf16 products of 8,192² matrices reach in the same run.

Without TOFU's files the lengths are drawn: about 64 tokens a sample, 42 of them the answer, as TOFU's are.
`--model tiny --device cpu --sizes 8 --epochs 1` runs the same code in a minute anywhere: it checks the script, its
figures mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import reference_procedure as reference
import torch
from extraction import needed_flops, reference_variant
from side_by_side import Spread, Variant, on_the_cpu, parser, save, table
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from workload import SHAPES, batches

from expunge.adapters.attach import attach_adapter
from expunge.benchmarks.tofu.settings import TofuData
from expunge.data.encoding import Encoder, Example
from expunge.data.sets import load_data
from expunge.importance import measure_importance
from expunge.models.answers import IGNORED
from expunge.objectives.settings import ObjectiveSettings
from expunge.training.objective import build_objective
from expunge.training.settings import Training
from expunge.training.train import build_trainer

LLAMA_2_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
}
ESTIMATORS = ("fila", "vila", "factored")
OBJECTIVES = ("ihl", "npo", "gd")
COLUMNS = ["phase", "samples", "seconds", "share of peak", "peak memory", "reference VILA ÷ it",
           "reference FILA ÷ it", "reference ÷ it", "note"]  # fmt: skip
#: Tokens of a drawn sample and of its answer, mean and standard deviation: those of TOFU's forget10.
DRAWN = {"length": (64.0, 17.0), "answer": (42.0, 15.0)}


class Bench:
    """One machine, one model, the rows of the result."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.device = torch.device(options.device)
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        shape = LLAMA_2_7B if options.model == "llama-2-7b" else SHAPES[options.model]
        self.vocabulary = shape["vocab_size"]
        self.forget, self.retain = examples(options, max(options.sizes), self.vocabulary)
        self.model = self._random_model(shape)
        self.rows: list[dict[str, Any]] = []
        self.adapted: Any = None
        self.peak = self._matmul_flops()

    def _random_model(self, shape: dict[str, int]) -> Any:
        """Made on the device, in its dtype: on the host it would take twice its memory in fp32 first."""
        torch.manual_seed(0)
        config = LlamaConfig(
            **shape, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0
        )
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                return LlamaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(torch.float32)

    def _matmul_flops(self) -> float:
        side = 8192 if self.device.type == "cuda" else 512
        a, b = (torch.randn(side, side, device=self.device, dtype=self.dtype) for _ in range(2))
        a @ b
        seconds = min(self._seconds(lambda: a @ b) for _ in range(5))
        return 2.0 * side**3 / seconds

    def _seconds(self, run: Callable[[], Any]) -> float:
        """Wall seconds until the device is done."""
        self._wait()
        started = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def row(
        self, phase: str, samples: int, variant: Variant, flops: float | None = None, repetitions: int = 1
    ) -> dict[str, Any]:
        """Measure a phase and write the row. flops: that it needs; its peak memory is the device's, none of a CPU."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        seconds = Spread.of([variant.seconds(self._seconds) for _ in range(repetitions)])
        self.rows.append({
            "phase": phase,
            "samples": samples,
            "seconds": seconds,
            "share of peak": f"{flops / seconds.median / self.peak:.1%}" if flops else None,
            "peak memory": torch.cuda.max_memory_allocated() if on_gpu else None,
            "note": variant.note,
        })  # fmt: skip
        print(f"{phase}, {samples} samples: {seconds} s", file=sys.stderr)
        self.save()
        return self.rows[-1]

    def save(self) -> None:
        workload = {
            "model": self.options.model,
            "dtype": str(self.dtype),
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "lengths": "TOFU's" if (self.options.shared / "data" / "tofu").is_dir() else "drawn",
            "tokens": sum(len(example) for example in self.forget + self.retain),
        }
        save(self.options, self.rows, workload, matmul_flops_per_second=self.peak)

    def extraction(self) -> dict[str, torch.Tensor]:
        size = self.options.batch_size
        rows: dict[str, torch.Tensor] = {}
        warm = batches(self.forget[:size], size)
        measure_importance(self.model, warm, warm, estimator="vila")
        for samples in self.options.sizes:
            forget, retain = self.forget[:samples], self.retain[:samples]
            flops = needed_flops(self.model, forget + retain)
            for name in ESTIMATORS:
                pair = batches(forget, size), batches(retain, size)
                self.row(
                    f"extraction, {name}",
                    samples,
                    Variant(
                        lambda pair=pair, name=name: rows.update(
                            measure_importance(self.model, *pair, estimator=name)
                        )
                    ),
                    flops,
                    self.options.repetitions,
                )
        return rows

    def reference_extraction(self) -> None:
        """VILA's and FILA's, of all samples in 10 passes; `--reference-batches` of these batches are timed."""
        perturbed = reference.perturbed_model(self.model)
        self._reference("VILA", reference.Accumulated.of_vila(perturbed), reference.vila_map)
        self.model = perturbed.unload()
        self._reference("FILA", reference.Accumulated.of_fila(self.model), reference.fila_map)
        self.model.requires_grad_(False).eval()
        self.model.zero_grad()
        self.save()

    def _reference(self, name: str, sums: reference.Accumulated, finish: Callable[..., Any]) -> None:
        padded = reference.padded_batches(self.forget)
        variant = reference_variant(
            sums,
            finish,
            padded[: self.options.reference_batches],
            count=2 * len(padded) * reference.PASSES[name.lower()],
        )
        found = self.row(f"extraction, reference {name}", len(self.forget), variant)
        for row in self.rows:
            if row["samples"] == len(self.forget) and row["phase"].removeprefix("extraction, ") in ESTIMATORS:
                row[f"reference {name} ÷ it"] = found["seconds"].median / row["seconds"].median

    def initialisation(self, importance: dict[str, torch.Tensor]) -> None:
        def attach() -> None:
            if self.adapted is not None:
                self.model = self.adapted.unload()
            self.adapted = attach_adapter(self.model, importance, rank=8, alpha=16)

        variant = Variant(attach, note="samples: layers")
        self.row("initialisation", len(importance), variant, repetitions=self.options.repetitions)

    def training(self) -> None:
        epochs = self.options.epochs
        operations = epochs * needed_flops(self.model, self.forget + self.retain)
        with tempfile.TemporaryDirectory() as name:
            for objective in OBJECTIVES:
                self.row(
                    f"training, {objective}",
                    len(self.forget),
                    Variant(
                        lambda objective=objective: self._trainer(objective, Path(name)).train(),
                        note=f"{epochs} epochs",
                    ),
                    operations,
                    self.options.repetitions,
                )

    def _trainer(self, objective: str, folder: Path) -> Any:
        return build_trainer(
            self.adapted,
            self.forget,
            self.retain,
            objective=build_objective(ObjectiveSettings.model_validate(objective)),
            training=Training(
                epochs=self.options.epochs,
                batch_size=self.options.train_batch,
                micro_batch_size=self.options.micro_batch,
            ),
            seed=0,
            pad_token_id=0,
            checkpoints=folder,
            callbacks=[],
            save=False,
        )

    def reference_training(self) -> None:
        self.model = self.adapted.unload()
        size = reference.BATCH_SIZE
        forget, retain = (reference.padded_batches(side[:size])[0] for side in (self.forget, self.retain))
        pair = [tuple({k: v.to(self.device) for k, v in batch.items()} for batch in (forget, retain))]
        count = self.options.epochs * len(self.forget) // size
        for objective in OBJECTIVES:
            trainer = reference.ReferenceTrainer.prepare(self.model, objective)
            trainer.step(pair)
            found = self.row(
                f"training, {objective}, reference",
                len(self.forget),
                Variant(
                    lambda trainer=trainer: trainer.step(pair),
                    scale=count,
                    note=f"1 of {count} micro-batches timed",
                ),
            )
            self.model = trainer.model.unload()
            ours = next(row for row in self.rows if row["phase"] == f"training, {objective}")
            ours["reference ÷ it"] = found["seconds"].median / ours["seconds"].median
        self.save()


def examples(
    options: argparse.Namespace, samples: int, vocabulary: int
) -> tuple[list[Example], list[Example]]:
    """Forget and retain examples of TOFU's lengths: TOFU's own where it is there, else drawn."""
    folder = options.shared / "data" / "tofu"
    if folder.is_dir():
        loaded = load_data(TofuData(format="tofu", path=str(folder), forget="forget10"), True)
        encoder = Encoder(AutoTokenizer.from_pretrained(options.shared / "models" / "tofu-tiny" / "full"))
        assert loaded.retain is not None
        return loaded.forget.encode(encoder)[:samples], loaded.retain.encode(encoder)[:samples]
    generator = torch.Generator().manual_seed(0)

    def drawn() -> Example:
        length, answer = (
            int(torch.randn((), generator=generator) * spread + mean) for mean, spread in DRAWN.values()
        )
        length = max(length, 24)
        answer = min(max(answer, 8), length - 8)
        ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
        return Example(ids, [IGNORED] * (length - answer) + ids[length - answer :])

    return [drawn() for _ in range(samples)], [drawn() for _ in range(samples)]


def main() -> None:
    made = parser(__doc__, "gpu", repetitions=3, threads=False)
    made.add_argument("--shared", type=Path, default=Path("../shared"))
    made.add_argument("--model", choices=["llama-2-7b", *sorted(SHAPES)], default="llama-2-7b")
    made.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    made.add_argument("--sizes", type=int, nargs="+", default=[40, 200, 400])
    made.add_argument("--epochs", type=int, default=5)
    made.add_argument("--batch-size", type=int, default=32, help="samples in a pass of the extraction")
    made.add_argument("--train-batch", type=int, default=32)
    made.add_argument("--micro-batch", type=int, default=32)
    made.add_argument("--reference-batches", type=int, default=3)
    options = made.parse_args()
    if options.device == "cpu":
        on_the_cpu()
    bench = Bench(options)
    importance = bench.extraction()
    bench.reference_extraction()
    bench.initialisation(importance)
    bench.training()
    bench.reference_training()
    print(table(COLUMNS, bench.rows))


if __name__ == "__main__":
    main()
