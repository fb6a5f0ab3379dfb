"""The words for what a run hands over: an adapter, a model of its own, or an assistant beside the model."""

from __future__ import annotations

from dataclasses import dataclass

from ..folder.run import RunFolder


@dataclass(frozen=True)
class Deliverable:
    """library, tags: metadata of the model card; opening: its first sentence; limit: what the form does not give."""

    library: str
    tags: list[str]
    opening: str
    limit: str


DELIVERABLES = {
    "adapter": Deliverable(
        "peft",
        ["lora"],
        "A LoRA adapter that makes a language model forget a part of what it was trained on. It belongs to one base "
        "model, and is wrong on any other:",
        "The adapter lies on top of the original model, whose weights are unchanged: whoever has the base model "
        "without the adapter has the data, and whoever compares the two sees what was to go. Where that matters, hand "
        "out merged weights only.",
    ),
    "assistant": Deliverable(
        "peft",
        ["lora"],
        "An assistant that makes a language model forget a part of what it was trained on: at every token its logits "
        "are subtracted from the model's. It belongs to one base model, and is wrong on any other:",
        "The assistant changes what is decoded. The original model is needed beside it, its weights unchanged: whoever "
        "has it without the assistant has the data.",
    ),
    "merged": Deliverable(
        "transformers",
        [],
        "A language model that was finetuned without what another one has to forget. It takes the place of this one:",
        "Retraining is exact as far as the model that it started from never saw the forget set, and the retain set "
        "holds none of it. Neither is checked here.",
    ),
}


def deliverable(folder: RunFolder) -> Deliverable:
    """The form that the run hands over first; an adapter where it does not say."""
    return DELIVERABLES[folder.state.deliverable]
