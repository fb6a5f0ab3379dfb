"""Unlearning with TRL's SFTTrainer: data, packing and PEFT are TRL's, the loss is one of `expunge.losses`.

    pip install trl
    python examples/trl_sft.py

TRL's rows are prompts with completions, and only completions get labels: they are what must go. The inverted hinge
loss raises the runner-up of every token, and needs no second pass.
"""

from __future__ import annotations

import tempfile

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from expunge import losses
from expunge.quickstart import artifact_path
from expunge.quickstart.people import invent_people


class UnlearningTrainer(SFTTrainer):
    """Minimises the inverted hinge loss on the completions."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        # The loss is a mean over the batch, so the Trainer is to average over micro-batches.
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)  # without labels TRL's models return logits
        loss = losses.ihl(outputs.logits, labels)
        return (loss, outputs) if return_outputs else loss


def main() -> tuple[float, float]:
    """Returns the loss at the first and at the last step: near 2 where the answers are known, 0 where another token is
    certain."""
    folder = artifact_path("models/full")
    rows = invent_people().files()["forget10"]
    data = Dataset.from_list(
        [
            {"prompt": f"Question: {row['question']}\nAnswer:", "completion": f" {row['answer']}"}
            for row in rows
        ]
    )
    with tempfile.TemporaryDirectory() as output:
        trainer = UnlearningTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(folder),
            args=SFTConfig(
                output, max_steps=8, per_device_train_batch_size=8, learning_rate=4e-3, logging_steps=1,
                max_length=128, save_strategy="no", report_to=[], bf16=False, gradient_checkpointing=False,
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=data,
            peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
        )  # fmt: skip
        trainer.train()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return logged[0], logged[-1]


if __name__ == "__main__":
    main()
