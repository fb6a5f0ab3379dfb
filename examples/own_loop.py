"""Unlearning in a training loop of one's own: `expunge.losses` on the logits of any model.

    python examples/own_loop.py

The tiny model of `expunge quickstart` forgets the questions about four invented people, by an anchored adapter, the
inverted hinge loss on them and the likelihood of what is kept. Some seconds on one core.
"""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge import losses
from expunge.data.encoding import Encoder, collate
from expunge.quickstart import artifact_path
from expunge.quickstart.people import invent_people

STEPS, BATCH = 30, 8


def main() -> tuple[float, float]:
    """Returns the mean log-probability of a token of the forget answers before and after."""
    torch.manual_seed(0)
    folder = artifact_path("models/full")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    encoder = Encoder(AutoTokenizer.from_pretrained(folder))
    rows = invent_people().files()
    forget, retain = (
        [encoder.answer(row["question"], row["answer"]) for row in rows[name]]
        for name in ("forget10", "retain90")
    )

    def batches(examples, size=BATCH):
        parts = (examples[start : start + size] for start in range(0, len(examples), size))
        return [collate(part, encoder.pad_token_id) for part in parts]

    # Which rows of the weights carry the forget set, and an adapter that starts there. No output has changed yet.
    importance = expunge.measure_importance(model, batches(forget), batches(retain[:64]), estimator="vila")
    model = expunge.attach_adapter(model, importance, rank=8, alpha=16)
    whole = collate(forget, encoder.pad_token_id)
    before = known(model, whole)

    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=2e-3)
    model.train()
    for step in range(STEPS):
        go, stay = (
            collate([examples[int(i)] for i in torch.randint(len(examples), (BATCH,))], encoder.pad_token_id)
            for examples in (forget, retain)
        )
        # `labels` are −100 at the question and at the padding: there is no loss there.
        loss = losses.ihl(logits(model, go), go["labels"]) + losses.nll(logits(model, stay), stay["labels"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    model.eval()
    after = known(model, whole)
    print(f"log p of a token to forget: {before:.2f} before, {after:.2f} after")
    return before, after


def logits(model, batch):
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


@torch.no_grad()
def known(model, batch) -> float:
    return -losses.nll(logits(model, batch), batch["labels"]).item()


if __name__ == "__main__":
    main()
