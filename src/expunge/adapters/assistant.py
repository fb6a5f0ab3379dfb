"""ULD's model: the original, from whose logits those of an assistant are subtracted at every token.

    logits = logits_base − γ · logits_assistant

The assistant is the first blocks of the same model, with its final norm, its output embedding and a LoRA adapter
(Ji et al. 2024, §2.5). It shares the original's weights, so there is no second model in memory.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import CausalLMOutput

from ..errors import InputError, Problem
from ..intact import read_object
from ..models.blocks import transformer_blocks
from ..models.comparison import difference
from ..models.fingerprint import fingerprint
from ..storage import atomic_folder, write_json
from .export import export_adapter, load_adapter, refuse_foreign
from .origin import EXPORT_AGAIN

SCHEMA = "expunge.assistant/1"
ASSISTANT_FILE = "assistant.json"
#: What the record has at least.
FACTS = ("base", "fingerprint", "layers", "offset_weight")


def first_blocks(model: Any, layers: int) -> Any:
    """A model of the first `layers` transformer blocks of `model`; whatever holds weights is the same object in both.

    Raises `InputError` where `model` has no more blocks than that.
    """
    blocks = len(transformer_blocks(model))
    if layers >= blocks:
        raise InputError(
            Problem("method.layers", f"an assistant of {layers} blocks is no part of a model of {blocks}.",
                    f"Use fewer than {blocks}.")
        )  # fmt: skip
    shared = [module for module in model.modules() if not any(True for _ in module.children())]
    kept = [*shared, *model.parameters(), *model.buffers()]
    part = copy.deepcopy(model, {id(thing): thing for thing in kept})
    del transformer_blocks(part)[layers:]
    config = part.config.get_text_config()
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    return part


class AssistedModel(nn.Module):
    """A causal LM whose logits are those of `base` minus `offset_weight` (γ) times those of `assistant`.

    What it does not have itself (config, device, generation settings) it takes from `base`.
    """

    #: What the assistant has read is kept for one call of `generate`.
    keeps_a_second_cache = True

    def __init__(self, base: Any, assistant: PeftModel, offset_weight: float):
        super().__init__()
        self.base = base
        self.assistant = assistant
        self.offset_weight = offset_weight
        self.generation_config = base.generation_config

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base":
                raise
            return getattr(self.base, name)

    def get_base_model(self) -> Any:
        return self.base

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        use_cache: bool = False,
    ) -> CausalLMOutput:
        """Logits of whole sequences, (batch, length or positions kept, V) in the base's dtype.

        use_cache: taken so that the call is that of any causal LM; only `generate` keeps keys and values
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "logits_to_keep": logits_to_keep}
        base = self.base(**inputs, use_cache=False).logits
        assistant = self.assistant(**inputs, use_cache=False).logits
        return CausalLMOutput(logits=torch.sub(base, assistant, alpha=self.offset_weight))

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        logits_processor: list[LogitsProcessor] | None = None,
        **options: Any,
    ) -> Any:
        """transformers' `generate` of the base; the assistant's logits are subtracted before every choice of a token.

        Both models keep their keys and values. The caller pads prompts of different lengths on the left and marks the
        padding in `attention_mask`: without it no token counts as padding.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        subtraction = _Subtraction(self.assistant, self.offset_weight, attention_mask)
        return self.base.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            logits_processor=LogitsProcessorList([*(logits_processor or []), subtraction]),
            **options,
        )


class _Subtraction(LogitsProcessor):
    """Subtracts the assistant's logits from the base's, for one call of `generate`."""

    def __init__(self, assistant: PeftModel, offset_weight: float, prompt_mask: Tensor):
        self.assistant = assistant
        self.offset_weight = offset_weight
        self.prompt_mask = prompt_mask
        self.cache: Any = None
        self.read: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids (rows, length) so far; scores (rows, V) fp32, the base's logits of the next token."""
        if self.read is not None and not self._follows(input_ids, self.read):
            self.cache = self.read = None  # beam search has put the rows in another order
        known = 0 if self.read is None else self.read.shape[1]
        rows, length = input_ids.shape
        mask = self.prompt_mask.repeat_interleave(rows // len(self.prompt_mask), dim=0)
        mask = pad(mask, (0, length - mask.shape[1]), value=1)
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        output = self.assistant(
            input_ids=input_ids[:, known:],
            attention_mask=mask,
            position_ids=positions[:, known:],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache, self.read = output.past_key_values, input_ids
        return scores - self.offset_weight * output.logits[:, -1].to(scores)

    @staticmethod
    def _follows(input_ids: Tensor, read: Tensor) -> bool:
        return len(input_ids) == len(read) and torch.equal(input_ids[:, : read.shape[1]], read)


def save_assistant(
    model: AssistedModel, folder: Path, *, base_name: str | None = None, revision: str | None = None
) -> Path:
    """Write the assistant's adapter and `assistant.json` to `folder`; `load_assisted` reads them.

    Raises `InputError` where `folder` holds something else than an assistant.
    """
    refuse_foreign(folder, ASSISTANT_FILE)
    with atomic_folder(folder) as partial:
        export_adapter(model.assistant, partial / "adapter", base_name=base_name, revision=revision)
        facts = {
            "schema": SCHEMA,
            "base": base_name,
            "revision": revision,
            "fingerprint": fingerprint(model.base),
            "layers": len(transformer_blocks(model.assistant)),
            "offset_weight": model.offset_weight,
        }
        write_json(partial / ASSISTANT_FILE, facts)
    return folder


def load_assisted(base: Any, folder: str | Path) -> AssistedModel:
    """The model that a run with `method: uld` hands over.

    base:   the original causal LM in the dtype of its files, fp32 or bf16; it is not changed. One in fp16 or quantised
            is known where `expunge.models.loading.load_model` has loaded it.
    folder: what the run wrote to `assistant/`

    Returns a model with `forward` (whole sequences) and `generate`, in eval mode. Raises `InputError` where `folder`
    holds no assistant or a damaged one, and where it belongs to another base.
    """
    folder = Path(folder)
    file = folder / ASSISTANT_FILE
    if not file.is_file():
        raise InputError(
            Problem(str(folder), f"it holds no {ASSISTANT_FILE}.", "Give the folder `assistant` of a run with uld.")
        )  # fmt: skip
    facts = read_object(file, "the record of an assistant", FACTS, EXPORT_AGAIN, schema=SCHEMA)
    here = fingerprint(base)
    if differs := difference(facts["fingerprint"], here):
        raise InputError(
            Problem(str(folder),
                    f"it belongs to the base {facts['base']!r} with fingerprint {facts['fingerprint']}, but this "
                    f"base has fingerprint {here}: {differs}.",
                    "Load the base that the assistant was made of, in the dtype of its files.")
        )  # fmt: skip
    part = first_blocks(base, facts["layers"])
    return AssistedModel(base, load_adapter(part, folder / "adapter"), facts["offset_weight"]).eval()
