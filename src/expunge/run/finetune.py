"""The base and the reference model of a benchmark, from the recipe that will use them: `expunge finetune`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from ..adapters.attach import attach_adapter
from ..adapters.loading import load_model
from ..data.encoding import Example, encoded_hash
from ..data.sample_set import SampleSet
from ..data.sets import load_data
from ..errors import InputError, Problem, nearest
from ..folder.agreement import FINETUNING, check_agreement
from ..folder.lock import locked
from ..folder.machine import changed_versions, command, machine, now, say_changed_versions, versions
from ..hub import recording
from ..intact import check_writable, read_object
from ..models.fingerprint import fingerprint, tokenizer_digest
from ..models.loading import load_config, load_tokenizer
from ..models.processes import device, processes, refuse_shards
from ..progress import say
from ..recipe import Recipe, load_recipe
from ..recipe.loading import naming_recipe
from ..storage import atomic_folder, is_taken, write_json_lines, write_record
from ..training.finetune import finetune
from ..training.train import saved_steps
from .checks import check_adapter, check_window, unreached_facts
from .inputs import make_encoder

SCHEMA = "expunge.finetune/1"
RECORD = "finetune.json"
#: What the record has at least.
RECORDED = ("on", "model", "data", "training", "adapter", "seed", "started")
#: What is trained on → the sets of the recipe, and the recipe's key for the model that comes of it.
SIDES = {"full": ("forget", "retain"), "retain": ("retain",)}
PURPOSES = {"full": "model: {{path: {path}}}", "retain": "evaluation: {{reference: {path}}}"}


@dataclass(frozen=True)
class Finetuned:
    """path: the model's folder, with `finetune.json`; recipe_line: what names it in a recipe"""

    path: Path
    recipe_line: str


def finetune_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    on: str,
    output: str | Path,
    lora: bool = False,
    resume: bool = False,
) -> Finetuned:
    """Finetune the recipe's model on its data; its sections `model`, `data`, `training` and `seed` count.

    on:     `full`: forget and retain set, a model that knows everything; `retain`: a model that never saw the forget
            set, the reference
    output: folder for the model (safetensors, in its checkpoint's own dtype), its tokenizer, `finetune.json` (hashes,
            versions, settings, fingerprints) and `steps.jsonl`. The state while training lies beside it, in
            `{output}.finetuning`.
    lora:   train a LoRA adapter by the recipe's section `adapter` (without importance) and merge it, in place of all
            weights
    resume: go on after an interruption; the result is that of an uninterrupted training

    The weights are trained in fp32, on an accelerator with bf16 arithmetic where the checkpoint is bf16.
    Raises `InputError` for wrong input before anything is written, and `RunFailed` where training diverges.
    """
    with naming_recipe(source), recording() as asked:
        job = _Finetuning(source, overrides, on, Path(output), lora)
    with locked(job.work, str(output)):
        finished = job.finished(resume)
        processes().wait_for_everyone()  # all have looked at the folders before one is made
        if not finished:
            job.run(asked)
        if processes().is_main_process:
            shutil.rmtree(job.work, ignore_errors=True)
    return Finetuned(job.output, PURPOSES[on].format(path=job.output))


class _Finetuning:
    """Everything that a finetuning needs, read and checked."""

    def __init__(
        self,
        source: str | Path | Mapping[str, Any],
        overrides: Sequence[str],
        on: str,
        output: Path,
        lora: bool,
    ):
        self.output, self.work = output, output.with_name(f"{output.name}.finetuning")
        self.checkpoints = self.work / "checkpoints"
        self.recipe = load_recipe(source, overrides)
        self.on, self.lora = on, lora
        self.sets, self.format = _check(self.recipe, on, output)
        self.tokenizer = load_tokenizer(self.recipe.model)
        self.encoder = make_encoder(self.tokenizer, self.recipe.data, load_config(self.recipe.model))
        self.examples: list[Example] = [
            example for part in self.sets.values() for example in part.encode(self.encoder)
        ]
        check_window(self.recipe, self.examples)
        self.own_dtype = load_config(self.recipe.model).dtype or torch.float32
        self.model = load_model(self.recipe.model.model_copy(update={"dtype": "float32"}))
        if lora:
            layers = check_adapter(self.model, self.recipe)
            if line := unreached_facts(self.model, self.recipe, layers).line:
                say(f"Left out: {line}.")
        self.facts = self._facts()

    def _facts(self) -> dict[str, Any]:
        """What the result depends on; `FINETUNING` names the keys, in which a resumed training must agree."""
        recipe = self.recipe
        return {
            "on": self.on,
            "model": {
                "path": recipe.model.path,
                "revision": recipe.model.revision,
                "fingerprint": fingerprint(self.model),
                "tokenizer": tokenizer_digest(self.tokenizer),
            },
            "data": {
                "format": self.format,
                "template": recipe.data.model_dump(mode="json")["template"],
                "max_length": recipe.data.max_length,
                **{side: part.describe() for side, part in self.sets.items()},
                "encoded": encoded_hash(self.examples),
            },
            "training": recipe.training.model_dump(mode="json"),
            "adapter": recipe.adapter.model_dump(mode="json", exclude={"initialization"})
            if self.lora
            else None,
            "seed": recipe.seed,
        }

    def finished(self, resume: bool) -> bool:
        """Whether the model is there already. Raises `InputError` where something else is in the way."""
        left = {self.output: (self.output / RECORD).is_file(), self.work: bool(saved_steps(self.checkpoints))}
        for folder in (folder for folder, something in left.items() if something):
            if not resume:
                raise InputError(
                    Problem(str(folder), "a finetuning has left its files there.",
                            "Go on with it by --resume, choose another --output, or delete the folder.")
                )  # fmt: skip
            record = folder / RECORD
            check_agreement((record, "the input", FINETUNING, _read_record(record), self.facts))
        return left[self.output]

    def run(self, asked: Sequence[str]) -> None:
        """asked: what the hub was asked for"""
        main_process = processes().is_main_process
        if main_process and not saved_steps(self.checkpoints):
            write_record(
                self.work / RECORD,
                {
                    "schema": SCHEMA,
                    **self.facts,
                    "network": list(asked),
                    "started": now(),
                    "versions": versions(),
                },
            )
        processes().wait_for_everyone()
        say_changed_versions(_read_record(self.work / RECORD).get("versions", {}))
        say(f"Finetuning on {len(self.examples)} examples ({' and '.join(self.sets)} set).")
        set_seed(self.recipe.seed)
        model = self._trained_model()
        steps = finetune(
            model,
            self.examples,
            training=self.recipe.training.model_copy(update={"precision": self._precision()}),
            seed=self.recipe.seed,
            pad_token_id=self.encoder.pad_token_id,
            checkpoints=self.checkpoints,
        )
        if main_process:
            if self.lora:
                model = model.merge_and_unload()
            self._write(model.to(self.own_dtype).eval(), steps, asked)
        processes().wait_for_everyone()

    def _trained_model(self) -> Any:
        if not self.lora:
            return self.model
        adapter = self.recipe.adapter
        return attach_adapter(
            self.model,
            rank=adapter.rank,
            alpha=adapter.alpha,
            targets=adapter.targets,
            layers=adapter.layers,
            seed=self.recipe.seed,
        )

    def _precision(self) -> str:
        given = self.recipe.training.precision
        if given != "auto":
            return given
        return "bf16" if self.own_dtype == torch.bfloat16 and device().type != "cpu" else "fp32"

    def _write(self, model: Any, steps: Sequence[dict[str, Any]], asked: Sequence[str]) -> None:
        begun = _read_record(self.work / RECORD)
        changed = changed_versions(begun.get("versions", {}))
        with atomic_folder(self.output) as partial:
            model.save_pretrained(partial)
            self.tokenizer.save_pretrained(partial)
            write_json_lines(partial / "steps.jsonl", steps)
            content = {
                "schema": SCHEMA,
                **self.facts,
                "result": {
                    "fingerprint": fingerprint(model),
                    "dtype": str(self.own_dtype).removeprefix("torch."),
                    "examples": len(self.examples),
                    "steps": len(steps),
                    "loss": steps[-1]["loss"],
                },
                "network": list(dict.fromkeys([*begun.get("network", []), *asked])),
                "started": begun["started"],
                "finished": now(),
                **({"changed_versions": changed} if changed else {}),
                "versions": versions(),
                "machine": machine(device(), torch.get_num_threads()),
                "command": command(),
            }
            write_record(partial / RECORD, content)


def _check(recipe: Recipe, on: str, output: Path) -> tuple[dict[str, SampleSet], str]:
    """The sets to train on and their format, once all has been checked that shows without loading weights."""
    problems: list[Problem] = []
    if on not in SIDES:
        problems.append(Problem("--on", f"there is no choice {on!r}.", nearest(on, SIDES)))
    if is_taken(output) and not (output / RECORD).is_file():
        problems.append(
            Problem(
                "--output",
                f"{str(output)!r} is a file or a folder that is not empty.",
                "Name another folder.",
            )
        )
    if recipe.model.quantization:
        problems.append(
            Problem("model.quantization", "a finetuned model is written whole, so its weights must be whole.",
                    "Leave the key out.")
        )  # fmt: skip
    if recipe.data.retains_itself:
        problems.append(
            Problem("data.retain", "'self' is what a model writes that knows the data; this makes such a model.",
                    "Name a retain set.")
        )  # fmt: skip
    loaded = []
    checks = (
        lambda: refuse_shards("a model cannot be finetuned"),
        lambda: check_writable(output, "--output"),
        lambda: load_config(recipe.model),
        lambda: loaded.append(load_data(recipe.data, False)),
    )
    for check in checks:
        try:
            check()
        except InputError as error:
            problems += error.problems
    if loaded and on == "retain" and loaded[0].retain is None:
        problems.append(
            Problem("data.retain", "there is no retain set to finetune on.", "Name one, or use --on full.")
        )
    if problems:
        raise InputError(problems)
    sets = {side: getattr(loaded[0], side) for side in SIDES[on]}
    return {side: part for side, part in sets.items() if part is not None}, loaded[0].format


def _read_record(file: Path) -> dict[str, Any]:
    return read_object(file, "the record of a finetuning", RECORDED, schema=SCHEMA)
