"""The transformers Trainer with an unlearning objective. It knows no method by name."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..adapters.anchor import load_weights, save_adapter
from ..data.encoding import IGNORED
from ..data.pairs import PairedDataset, PairSampler, collate_pairs
from ..models.answers import AnswerTokens, answer_tokens
from ..models.modes import evaluating
from ..objectives import Objective, StepTotals
from ..objectives.loss import Loss
from ..storage import PARTIAL, sync


class UnlearningTrainer(Trainer):
    """Minimises an `Objective` over pairs of forget and retain examples.

    - One forward pass over forget and retain rows; only answer positions reach the output embedding.
    - The reference's tokens come from the same model with its adapters disabled.
    - Sums are divided by the tokens or sequences of the whole optimiser step.
    - A checkpoint appears whole under its name or not at all.
    """

    def __init__(
        self,
        model: PeftModel,
        objective: Objective,
        pairs: PairedDataset,
        args: TrainingArguments,
        *,
        pad_token_id: int,
        step_size: int,
        callbacks: list[TrainerCallback] | None = None,
    ):
        super().__init__(
            model=model,
            args=args,
            train_dataset=pairs,
            data_collator=partial(collate_pairs, pad_token_id=pad_token_id),
            callbacks=callbacks,
        )
        self.objective = objective
        self.step_size = step_size
        self.loss_is_scaled_for_ga = True
        self._step_losses = torch.zeros(2, device=args.device)

    def _get_train_sampler(self, train_dataset: Any = None) -> PairSampler:
        processes = self.accelerator.num_processes
        together = processes * self.args.per_device_train_batch_size if processes > 1 else 1
        return PairSampler(self.train_dataset, self.step_size, self.args.seed, together)

    def _forget_rows(self, batch: dict[str, Tensor]) -> int:
        rows = len(batch["labels"])
        return rows // 2 if len(self.train_dataset.retain) else rows

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor:
        """Forget tokens, forget sequences, retain tokens, retain sequences of the optimiser step, (4,) fp32."""
        totals = torch.zeros(4, device=device)
        for batch in batch_samples:
            counted = (batch["labels"][:, 1:] != IGNORED).sum(1).to(device)
            rows = self._forget_rows(batch)
            totals += torch.stack(
                [
                    total
                    for side in (counted[:rows], counted[rows:])
                    for total in (side.sum(), (side > 0).sum())
                ]
            )
        return self.accelerator.reduce(totals, reduction="sum")

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        assert num_items_in_batch is not None
        totals = StepTotals(*num_items_in_batch.tolist())
        rows, all_rows = self._forget_rows(inputs), len(inputs["labels"])
        forget_reference = self._reference_tokens(inputs, slice(0, rows), self.objective.forget)
        retain_reference = self._reference_tokens(inputs, slice(rows, all_rows), self.objective.retain)
        tokens = answer_tokens(model, inputs)
        forget = self.objective.forget_loss(tokens.rows(0, rows), forget_reference, totals)
        retain = self.objective.retain_loss(tokens.rows(rows, all_rows), retain_reference, totals)
        self._step_losses += torch.stack([forget.detach(), retain.detach()])
        # DDP averages gradients over the processes; each holds a share of the step's sum.
        return (forget + self.objective.retain_weight * retain) * self.accelerator.num_processes

    def _reference_tokens(
        self, inputs: dict[str, Tensor], rows: slice, loss: Loss | None
    ) -> AnswerTokens | None:
        """What the original model makes of `rows`, without dropout, where `loss` needs it."""
        if loss is None or not loss.reference:
            return None
        model: PeftModel = self.accelerator.unwrap_model(self.model)
        with evaluating(model), torch.no_grad(), model.disable_adapter():
            return answer_tokens(model, {name: value[rows] for name, value in inputs.items()})

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the two losses of the step to what the Trainer logs (once an optimiser step)."""
        if "loss" in logs:
            forget, retain = self.accelerator.reduce(self._step_losses, reduction="sum").tolist()
            logs = {**logs, "forget_loss": forget, "retain_loss": retain}
            self._step_losses = torch.zeros_like(self._step_losses)
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        save_adapter(self.accelerator.unwrap_model(self.model), Path(str(output_dir)), state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.accelerator.unwrap_model(model or self.model), Path(resume_from_checkpoint))

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(str(self.args.output_dir)) / PARTIAL)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            staged, final = Path(self._get_output_dir(trial)) / name, Path(str(self.args.output_dir)) / name
            for entry in staged.rglob("*"):
                sync(entry)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(staged, final)
            sync(final.parent)
        self.accelerator.wait_for_everyone()
