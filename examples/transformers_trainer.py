"""Unlearning with transformers' Trainer: its `compute_loss` takes a loss from `expunge.losses`.

    python examples/transformers_trainer.py

NPO needs the logits of the model as it was: of an adapter that is the same model with the adapter off, so there is no
second one in memory.
"""

from __future__ import annotations

import tempfile

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from expunge import losses
from expunge.data.encoding import Encoder, collate
from expunge.quickstart import artifact_path
from expunge.quickstart.people import invent_people


class NegativePreferenceTrainer(Trainer):
    """Minimises NPO on what must go. A batch is `input_ids`, `attention_mask` and `labels`."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        # The loss is a mean over the batch, so the Trainer is to average over micro-batches.
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        with torch.no_grad(), self.accelerator.unwrap_model(model).disable_adapter():
            reference = model(**inputs).logits
        loss = losses.npo(outputs.logits, labels, reference_logits=reference, beta=0.1)
        return (loss, outputs) if return_outputs else loss


def main() -> tuple[float, float]:
    """Returns NPO's loss at the first and at the last step; it starts at 2 log 2 / β, where nothing has changed."""
    folder = artifact_path("models/full")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    encoder = Encoder(AutoTokenizer.from_pretrained(folder))
    rows = invent_people().files()["forget10"]
    examples = [encoder.answer(row["question"], row["answer"]) for row in rows]
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    with tempfile.TemporaryDirectory() as output:
        trainer = NegativePreferenceTrainer(
            model=model,
            args=TrainingArguments(
                output, max_steps=8, per_device_train_batch_size=8, learning_rate=3e-3, logging_steps=1,
                save_strategy="no", report_to=[], use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=examples,
            data_collator=lambda part: collate(part, encoder.pad_token_id),
        )  # fmt: skip
        trainer.train()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return logged[0], logged[-1]


if __name__ == "__main__":
    main()
