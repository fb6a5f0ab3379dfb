"""The transformers Trainer with an unlearning objective. It knows no method by name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..adapters.anchor import original_model, reinforced_model
from ..data.pairs import PairedDataset, PairSampler, collate_pairs
from ..models.answers import IGNORED, AnswerTokens, answer_tokens
from ..models.modes import evaluating
from ..objectives import Objective, Outputs, StepTotals
from ..objectives.loss import Loss
from ..storage import PARTIAL, sync, write_checksums
from .epoch_progress import EpochProgress
from .learning_rates import scale_learning_rates
from .weights import check_state, load_trained, save_trained, way_back

#: A context in which the wrapped model computes something else than what is trained.
ModelState = Callable[[PeftModel], AbstractContextManager[None]]


class UnlearningTrainer(Trainer):
    """Minimises an `Objective` over pairs of forget and retain examples.

    - One forward pass over forget and retain rows; only answer positions reach the output embedding.
    - The original's tokens come from the same model with its adapters disabled.
    - Mixed precision (bf16) holds for the forward passes alone: the logits stay in bf16, and a few tokens at a time
      are taken to fp32 for the losses.
    - Sums are divided by the tokens or sequences of the whole optimiser step.
    - A checkpoint appears whole under its name or not at all.
    """

    def __init__(
        self,
        model: Any,
        objective: Objective,
        pairs: PairedDataset,
        args: TrainingArguments,
        *,
        pad_token_id: int,
        step_size: int,
        rate_factors: dict[torch.nn.Parameter, float] | None = None,
        mixed_precision: bool = False,
        callbacks: list[TrainerCallback] | None = None,
    ):
        self._progress = EpochProgress()
        super().__init__(
            model=model,
            args=args,
            train_dataset=pairs,
            data_collator=partial(collate_pairs, pad_token_id=pad_token_id),
            callbacks=[self._progress, *(callbacks or [])],
        )
        self.objective = objective
        self.add_callback(_RetainWeightOfLog(objective))
        self.step_size = step_size
        self.rate_factors = rate_factors
        self.mixed_precision = mixed_precision
        self.loss_is_scaled_for_ga = True
        self._step_losses = torch.zeros(2, device=args.device)

    def train(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().train(*arguments, **options)
        finally:
            self._progress.close()  # an error must not leave a bar over what is said of it

    def _get_train_sampler(self, train_dataset: Any = None) -> PairSampler:
        processes = self.accelerator.num_processes
        together = processes * self.args.per_device_train_batch_size if processes > 1 else 1
        return PairSampler(self.train_dataset, self.step_size, self.args.seed, together)

    def create_optimizer(self, *arguments: Any, **options: Any) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(*arguments, **options)
        if self.rate_factors is not None:
            scale_learning_rates(optimizer, self.rate_factors)
        return optimizer

    def _rows(self, batch: dict[str, Tensor]) -> tuple[slice, slice, slice]:
        """Which rows of a batch are the forget examples, the retain examples and the substitutes."""
        pairs = len(batch["labels"]) // self.train_dataset.parts
        retain = pairs if self.train_dataset.retain else 0
        substitutes = pairs if self.train_dataset.substitutes else 0
        return (
            slice(0, pairs),
            slice(pairs, pairs + retain),
            slice(pairs + retain, pairs + retain + substitutes),
        )

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor:
        """Forget tokens, forget sequences, retain tokens, retain sequences of the optimiser step, (4,) fp32."""
        totals = torch.zeros(4, device=device)
        for batch in batch_samples:
            counted = (batch["labels"][:, 1:] != IGNORED).sum(1).to(device)
            forget, retain, _ = self._rows(batch)
            totals += torch.stack(
                [
                    total
                    for side in (counted[forget], counted[retain])
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
        forget_rows, retain_rows, substitute_rows = self._rows(inputs)
        objective = self.objective
        tokens = self._tokens(model, inputs)
        forget = objective.forget_loss(
            self._outputs(objective.forget, tokens, inputs, forget_rows, substitute_rows), totals
        )
        retain = objective.retain_loss(self._outputs(objective.retain, tokens, inputs, retain_rows), totals)
        self._step_losses += torch.stack([forget.detach(), retain.detach()])
        # DDP averages gradients over the processes; each holds a share of the step's sum.
        return (forget + objective.weight.value * retain) * self.accelerator.num_processes

    def _outputs(
        self,
        loss: Loss | None,
        tokens: AnswerTokens,
        inputs: dict[str, Tensor],
        rows: slice,
        substitutes: slice = slice(0, 0),
    ) -> Outputs:
        """What `loss` sees of these rows: of the trained model, and of the others that it asks for."""
        needs = loss.needs if loss else frozenset()
        paired = substitutes if substitutes.stop > substitutes.start else None
        original = "original" in needs
        return Outputs(
            tokens.rows(rows.start, rows.stop),
            self._frozen_tokens(inputs, rows, original_model) if original else None,
            self._frozen_tokens(inputs, rows, reinforced_model) if "reinforced" in needs else None,
            tokens.rows(paired.start, paired.stop) if paired else None,
            self._frozen_tokens(inputs, paired, original_model) if paired and original else None,
        )

    def _frozen_tokens(self, inputs: dict[str, Tensor], rows: slice, state: ModelState) -> AnswerTokens:
        """What the model in another `state` makes of `rows`, without dropout and gradient."""
        model: PeftModel = self.accelerator.unwrap_model(self.model)
        with evaluating(model), torch.no_grad(), state(model):
            part = {name: value[rows] for name, value in inputs.items()}
            return self._tokens(model, part)

    def _tokens(self, model: Any, inputs: dict[str, Tensor]) -> AnswerTokens:
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.mixed_precision):
            return answer_tokens(model, inputs, self.objective.hidden_layer)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the losses of the step to what the Trainer logs (once an optimiser step)."""
        if "loss" in logs:
            forget, retain = self.accelerator.reduce(self._step_losses, reduction="sum").tolist()
            logs[f"{self.objective.over}_loss"] = forget
            if self.objective.retain is not None:
                logs["retain_loss"] = retain
                logs["retain_weight"] = self.objective.weight.value
                self.objective.weight.after_step(retain)
            self._step_losses = torch.zeros_like(self._step_losses)
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        save_trained(self.accelerator.unwrap_model(self.model), Path(str(output_dir)), state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        check_state(folder)
        load_trained(self.accelerator.unwrap_model(model or self.model), folder, way_back(folder))

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(str(self.args.output_dir)) / PARTIAL)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            staged, final = Path(self._get_output_dir(trial)) / name, Path(str(self.args.output_dir)) / name
            write_checksums(staged)
            for entry in staged.rglob("*"):
                sync(entry)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(staged, final)
            sync(final.parent)
        self.accelerator.wait_for_everyone()


class _RetainWeightOfLog(TrainerCallback):
    """A resumed run goes on with the retain weight that the last logged step led to."""

    def __init__(self, objective: Objective):
        self.objective = objective

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        logged = [entry for entry in state.log_history if "retain_weight" in entry]
        if logged:
            self.objective.weight.value = logged[-1]["retain_weight"]
            self.objective.weight.after_step(logged[-1]["retain_loss"])
