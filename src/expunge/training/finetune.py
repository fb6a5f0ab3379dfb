"""Finetuning on answers: it teaches a benchmark's models its data, and unlearns exactly by retraining.

It is the unlearning trainer with one side only, whose likelihood rises: the same order of examples, the same
normalisation over the optimiser step, the same checkpoints.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data.encoding import Example
from ..errors import RunFailed
from ..intact import read_intact
from ..models.processes import processes
from ..objectives import Objective, Term
from ..objectives.registry import retain_losses
from ..progress import say
from .settings import Training
from .train import build_trainer, saved_steps
from .trainer import UnlearningTrainer
from .weights import check_state, way_back

WEIGHTS_FILE = "trained.safetensors"


def finetune(
    model: Any,
    examples: Sequence[Example],
    *,
    training: Training,
    seed: int,
    pad_token_id: int,
    checkpoints: Path,
) -> list[dict[str, Any]]:
    """Minimise the mean of −log p over the label tokens of every optimiser step, by AdamW.

    model:       a causal LM or a PeftModel on its device; its parameters that require a gradient are trained, in
                 place. Weights in bf16 lose small steps: train fp32 weights, and let `training.precision` be bf16.
    training:    every setting but `learning_rate_scale` counts; `batch_size` is in examples
    checkpoints: a folder for the last epoch's state (weights, optimiser, random numbers). Training goes on
                 with a state that lies there, and the weights become those of an uninterrupted training, bit for bit
                 on a CPU with the same number of threads.

    Returns a row per step: step, epoch, loss in nats a token, learning_rate, grad_norm. Several processes that
    call it alike share the batches. Raises `RunFailed` where the loss is no longer a number.
    """
    plan = training.plan(len(examples), processes().num_processes).model_copy(
        update={"learning_rate_scale": "none"}
    )
    trainer = build_trainer(
        model,
        examples,
        [],
        objective=Objective([Term(retain_losses["nll"])]),
        training=plan,
        seed=seed,
        pad_token_id=pad_token_id,
        checkpoints=checkpoints,
        callbacks=[_Course(plan.epochs)],
        trainer_class=_FinetuningTrainer,
    )
    done = saved_steps(checkpoints)
    trainer.train(resume_from_checkpoint=str(done[max(done)]) if done else None)
    return [_step(entry) for entry in trainer.state.log_history if "forget_loss" in entry]


class _FinetuningTrainer(UnlearningTrainer):
    """Checkpoints hold every trained parameter, whatever the model; only the last one is kept."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(str(output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().contiguous() for name, weight in self._trained().items()}
        save_file(weights, folder / WEIGHTS_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder, trained = Path(resume_from_checkpoint), self._trained()
        check_state(folder)
        weights = read_intact(load_file, folder / WEIGHTS_FILE, way_back(folder))
        with torch.no_grad():
            for name, weight in weights.items():
                trained[name].copy_(weight)

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        model = self.accelerator.unwrap_model(self.model)
        return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            for step, folder in saved_steps(Path(str(self.args.output_dir))).items():
                if step < self.state.global_step:
                    shutil.rmtree(folder)


class _Course(TrainerCallback):
    """Says how the loss falls, and ends a training whose loss is no longer a number."""

    def __init__(self, epochs: int):
        self.epochs = epochs
        self.losses: list[float] = []

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if "forget_loss" not in (logs or {}):
            return
        loss = (logs or {})["forget_loss"]
        if not math.isfinite(loss):
            raise RunFailed(
                f"The loss became {loss} at step {state.global_step}. Lower training.learning_rate, and start anew "
                "with another --output."
            )
        self.losses.append(loss)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        mean = sum(self.losses) / len(self.losses)
        say(f"  epoch {round(state.epoch or 0)}/{self.epochs}: mean loss {mean:.3f}")
        self.losses.clear()


def _step(entry: dict[str, Any]) -> dict[str, Any]:
    keys = {"step": "step", "epoch": "epoch", "forget_loss": "loss", "learning_rate": "learning_rate",
            "grad_norm": "grad_norm"}  # fmt: skip
    return {name: entry[key] for key, name in keys.items() if key in entry}
