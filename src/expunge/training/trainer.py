"""The transformers Trainer with an unlearning objective. It knows no method by name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..adapters.anchor import original_model, reinforced_model
from ..data.pairs import PairedDataset, PairSampler, collate_pairs
from ..intact import broken, read_object
from ..models.answers import IGNORED, AnswerTokens, answer_tokens
from ..models.modes import eager_attention, evaluating
from ..models.sharding import is_sharded
from ..objectives import Objective, Outputs, StepTotals, Term
from ..storage import PARTIAL, sync, write_checksums, write_json
from .epoch_progress import EpochProgress
from .learning_rates import scale_learning_rates
from .weights import check_state, load_trained, save_trained, way_back

#: A context in which the wrapped model computes another function than the one that is trained.
ModelState = Callable[[PeftModel], AbstractContextManager[None]]

#: Up to this length attention written out is faster in bf16 on a CPU than the fused one, whose backward pass is slow.
EAGER_LENGTH = 256

#: The dual variables in a checkpoint: {"weights": [their values]}.
WEIGHTS_FILE = "objective.json"


class UnlearningTrainer(Trainer):
    """Minimises the terms of an `Objective` over pairs of forget and retain examples.

    - One forward pass over forget and retain rows; only answer positions reach the output embedding.
    - The original's tokens come from the same model with its adapters disabled.
    - Mixed precision (bf16) holds for the forward passes alone: the logits stay in bf16, and a few tokens at a time
      are taken to fp32 for the losses.
    - Sums are divided by the tokens or sequences of the whole optimiser step.
    - A dual variable moves at every optimiser step, whether or not the step is logged.
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
        first_step_at_zero: bool = True,
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
        self.step_size = step_size
        self.rate_factors = rate_factors
        self.first_step_at_zero = first_step_at_zero
        self.mixed_precision = mixed_precision
        self.loss_is_scaled_for_ga = True
        # Not while the Trainer is made: it would refuse to save an optimiser, whose state might be sharded too.
        self.is_distributed_loading_by_transformers = is_sharded(model)
        #: Of every term: its loss in the step that is going on, then the last finished step's and the weight there.
        self._sums = torch.zeros(len(objective.terms), device=args.device)
        self._last_step: list[tuple[Term, float, float]] = []

    def train(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().train(*arguments, **options)
        finally:
            self._progress.close()  # an error must not leave a bar over its message

    def _get_train_sampler(self, train_dataset: Any = None) -> PairSampler:
        processes = self.accelerator.num_processes
        together = processes * self.args.per_device_train_batch_size if processes > 1 else 1
        return PairSampler(self.train_dataset, self.step_size, self.args.seed, together)

    def create_optimizer(self, *arguments: Any, **options: Any) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(*arguments, **options)
        if self.rate_factors is not None:
            scale_learning_rates(optimizer, self.rate_factors)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Without a step at the rate 0 the schedule is one that is a step longer, from its second step on."""
        if self.first_step_at_zero:
            return super().create_scheduler(num_training_steps, optimizer)
        longer = super().create_scheduler(num_training_steps + 1, optimizer)
        share = longer.lr_lambdas[0]  # of the full rate; the same for every group of parameters
        self.lr_scheduler = LambdaLR(longer.optimizer, lambda step: share(step + 1))
        return self.lr_scheduler

    def _rows(self, batch: dict[str, Tensor]) -> tuple[dict[str, slice], slice]:
        """The rows of a batch that are the examples of a side, and those that are the substitutes."""
        pairs = len(batch["labels"]) // self.train_dataset.parts
        beside = 2 * pairs if self.train_dataset.retain else pairs
        last = beside + pairs if self.train_dataset.substitutes else beside
        return {"retain": slice(pairs, beside), self.objective.walked: slice(0, pairs)}, slice(beside, last)

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor:
        """Label tokens and sequences of the optimiser step, as the terms see them, (terms, 2) fp32."""
        totals = torch.zeros(len(self.objective.terms), 2, device=device)
        for batch in batch_samples:
            counted = (batch["labels"][:, 1:] != IGNORED).sum(1).to(device)
            rows, _ = self._rows(batch)
            seen = [counted[rows[term.side]] for term in self.objective.terms]
            totals += torch.stack([torch.stack([side.sum(), (side > 0).sum()]) for side in seen])
        return self.accelerator.reduce(totals, reduction="sum")

    def training_step(
        self, model: Any, inputs: dict[str, Tensor], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Train on a micro-batch; after the last one of an optimiser step its losses move the weights of the terms."""
        for term in self.objective.terms:
            term.weight.before_step(self.state.global_step / max(self.state.max_steps - 1, 1))
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            losses = self.accelerator.reduce(self._sums, reduction="sum").tolist()
            self._sums = torch.zeros_like(self._sums)
            terms = self.objective.terms
            self._last_step = [
                (term, value, term.weight.value) for term, value in zip(terms, losses, strict=True)
            ]
            for term, value in zip(terms, losses, strict=True):
                term.weight.after_step(value)
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        assert num_items_in_batch is not None
        objective, (rows, substitutes) = self.objective, self._rows(inputs)
        tokens = self._tokens(model, inputs)
        losses = [
            objective.share(
                term,
                self._outputs(term, tokens, inputs, rows[term.side], substitutes),
                StepTotals(*totals),
            )
            for term, totals in zip(objective.terms, num_items_in_batch.tolist(), strict=True)
        ]
        self._sums += torch.stack([loss.detach() for loss in losses])
        weighted = [term.weight.value * loss for term, loss in zip(objective.terms, losses, strict=True)]
        # DDP averages gradients over the processes, which hold shares of the step's sum.
        return torch.stack(weighted).sum() * self.accelerator.num_processes

    def _outputs(
        self, term: Term, tokens: AnswerTokens, inputs: dict[str, Tensor], rows: slice, substitutes: slice
    ) -> Outputs:
        """The outputs that a term's loss sees of its rows: of the trained model, and of the others that it asks for."""
        needs = term.loss.needs
        paired = substitutes if term.loss.substitute and substitutes.stop > substitutes.start else None
        original = "original" in needs
        return Outputs(
            tokens.rows(rows.start, rows.stop),
            self._frozen_tokens(inputs, rows, original_model) if original else None,
            self._frozen_tokens(inputs, rows, reinforced_model) if "reinforced" in needs else None,
            tokens.rows(paired.start, paired.stop) if paired else None,
            self._frozen_tokens(inputs, paired, original_model) if paired and original else None,
        )

    def _frozen_tokens(self, inputs: dict[str, Tensor], rows: slice, state: ModelState) -> AnswerTokens:
        """The answers in `rows` under the model in another `state`, without dropout and gradient."""
        model: PeftModel = self.accelerator.unwrap_model(self.model)
        with evaluating(model), torch.no_grad(), state(model):
            part = {name: value[rows] for name, value in inputs.items()}
            return self._tokens(model, part)

    def _tokens(self, model: Any, inputs: dict[str, Tensor]) -> AnswerTokens:
        short = inputs["input_ids"].shape[1] <= EAGER_LENGTH
        # A recomputed block would run outside this context, with the attention that the model came with.
        eager = self.mixed_precision and self.args.device.type == "cpu" and short
        with (
            torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.mixed_precision),
            eager_attention(self.accelerator.unwrap_model(model))
            if eager and not self.args.activation_checkpointing
            else nullcontext(),
        ):
            return answer_tokens(model, inputs, self.objective.hidden_layer)

    def floating_point_ops(self, inputs: dict[str, Tensor]) -> int:
        """Not counted here, as the Trainer would by walking through all parameters at every pass: the run counts."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the last step's losses, by their side, and the weights of those that come beside the first."""
        if "loss" in logs:
            for number, (term, loss, weight) in enumerate(self._last_step):
                logs[f"{term.side}_loss"] = logs.get(f"{term.side}_loss", 0.0) + loss
                if number:
                    logs[f"{term.side}_weight"] = weight
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if self.args.should_save:
            save_trained(self.accelerator.unwrap_model(self.model), Path(str(output_dir)), state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        check_state(folder)
        load_trained(self.accelerator.unwrap_model(model or self.model), folder, way_back(folder))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._load_weights(Path(checkpoint))

    def _load_weights(self, checkpoint: Path) -> None:
        """Go on with the dual variables that the checkpoint's last step led to."""
        dual = [term for term in self.objective.terms if term.weight.bound is not None]
        if not dual:
            return
        file, remedy = checkpoint / WEIGHTS_FILE, way_back(checkpoint)
        if file.exists():
            values = read_object(file, "the state of an objective", ["weights"], remedy)["weights"]
            numbers = isinstance(values, list) and all(isinstance(value, float) for value in values)
            if not numbers or len(values) != len(dual):
                raise broken(file, f"it has no list of {len(dual)} weights", remedy)
            for term, value in zip(dual, values, strict=True):
                term.weight.value = value
            return
        # A checkpoint from before there was this file: every step is in its log, with the weight before the step.
        state = read_object(checkpoint / TRAINER_STATE_NAME, "a Trainer's state", ["log_history"], remedy)
        for term in dual:
            logged = [entry for entry in state["log_history"] if f"{term.side}_weight" in entry]
            if logged:
                term.weight.value = logged[-1][f"{term.side}_weight"]
                term.weight.after_step(logged[-1][f"{term.side}_loss"])

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(str(self.args.output_dir)) / PARTIAL)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            staged, final = Path(self._get_output_dir(trial)) / name, Path(str(self.args.output_dir)) / name
            weights = [term.weight for term in self.objective.terms]
            dual = [weight.value for weight in weights if weight.bound is not None]
            if dual:
                write_json(staged / WEIGHTS_FILE, {"weights": dual})
            write_checksums(staged)
            for entry in staged.rglob("*"):
                sync(entry)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(staged, final)
            sync(final.parent)
        self.accelerator.wait_for_everyone()
