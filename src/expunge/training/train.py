"""From a recipe's training section to trained checkpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments

from ..data.encoding import Example
from ..errors import InputError, Problem
from ..models.blocks import transformer_blocks
from ..models.half_precision import mixed_precision
from ..models.processes import cpu_only, processes
from ..objectives import Objective
from .learning_rates import learning_rate_factors
from .objective import paired_dataset
from .settings import Training, TrainingPlan, largest_divisor
from .trainer import UnlearningTrainer


class _Arguments(TrainingArguments):
    """The Trainer's arguments. The machine decides none of them: the recipe says how large and how precise a step is.

    Where one process sees several GPUs the Trainer would use all, by `DataParallel` and with as many times the batch;
    and it would take the mixed precision of `accelerate config`, which copies all logits to fp32.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mixed_precision = "no"

    @property
    def n_gpu(self) -> int:
        return 1


def build_trainer(
    model: Any,
    forget: Sequence[Example],
    retain: Sequence[Example],
    substitutes: Sequence[Example] = (),
    *,
    objective: Objective,
    training: Training,
    seed: int,
    pad_token_id: int,
    checkpoints: Path,
    callbacks: list[TrainerCallback],
    save: bool = True,
    trainer_class: type[UnlearningTrainer] = UnlearningTrainer,
) -> UnlearningTrainer:
    """A trainer that walks `training.epochs` times through the forget set, or that of the objective, saving each time.
    What `training` leaves to `auto` follows from the samples.

    model: with an adapter; without one all its weights are trained
    substitutes: other answers to the forget examples' questions, where the forget loss asks for them
    """
    dataset = paired_dataset(objective, forget, retain, substitutes)
    plan = training.plan(len(dataset), processes().num_processes)
    micro, accumulated = _micro_batches(plan)
    warmup = plan.warmup_steps(plan.steps_an_epoch(len(dataset)))
    if objective.last_block is not None:  # several processes would wait for the other blocks' gradients
        transformer_blocks(model)[objective.last_block + 1 :].requires_grad_(False)
    if save:
        # For the owner alone: torch writes the optimiser's averages of the gradients for everyone to read.
        checkpoints.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments = _Arguments(
        output_dir=str(checkpoints),
        num_train_epochs=plan.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulated,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        # transformers' own "constant" leaves the warm-up out
        lr_scheduler_type="constant_with_warmup" if plan.schedule == "constant" else plan.schedule,
        warmup_steps=warmup if plan.first_step_at_zero else warmup + 1,
        max_grad_norm=plan.max_grad_norm,
        use_cpu=cpu_only(),
        activation_checkpointing=plan.activation_checkpointing,
        seed=seed,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="epoch" if save else "no",
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to=plan.report_to or "none",
        disable_tqdm=True,
    )
    weight = model.get_input_embeddings().weight
    scaled = plan.learning_rate_scale == "initialization"
    trainer = trainer_class(
        model,
        objective,
        dataset,
        arguments,
        pad_token_id=pad_token_id,
        step_size=plan.batch_size,
        rate_factors=learning_rate_factors(model) if scaled else None,
        first_step_at_zero=plan.first_step_at_zero,
        mixed_precision=mixed_precision(plan.precision, weight.device, weight.dtype),
        callbacks=callbacks,
    )
    for printing in (PrinterCallback, ProgressCallback):  # they write to stdout
        trainer.remove_callback(printing)
    return trainer


def saved_steps(checkpoints: Path) -> dict[int, Path]:
    """Optimiser step → its complete checkpoint."""
    matches = {
        path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in checkpoints.glob("checkpoint-*")
    }
    return {int(match.group(1)): path for path, match in matches.items() if match}


def _micro_batches(training: TrainingPlan) -> tuple[int, int]:
    """Samples of a forward pass on one process, and the number of passes in a step."""
    count = processes().num_processes
    share, left = divmod(training.batch_size, count)
    if left or not share:
        raise InputError(
            Problem("training.batch_size", f"{training.batch_size} cannot be shared by {count} processes.",
                    f"Use a multiple of {count}.")
        )  # fmt: skip
    micro = largest_divisor(share, training.micro_batch_size)
    return micro, share // micro
