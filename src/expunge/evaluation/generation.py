"""Greedy continuations of many prompts, in left-padded batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import torch
from transformers import GenerationConfig

from ..data.encoding import IGNORED, Encoder, Example
from ..progress import track
from .inference import batches_by_length, inference
from .log import QuestionRecord


def greedy_continuations(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 200,
    tokens_per_batch: int = 32768,
    description: str = "Generating",
) -> list[str]:
    """What the model writes after each prompt (token ids) by greedy decoding, in the order given.

    Decoding ends at the model's or the tokenizer's end-of-sequence token, or after `max_new_tokens`; special
    tokens are left out of the text. `tokens_per_batch` bounds rows × (prompt + new tokens), and with that the
    key-value cache. Sampling settings of the model are not used; neither it nor the tokenizer is changed.
    """
    settings = _greedy_settings(model, tokenizer, max_new_tokens)
    texts = [""] * len(prompts)
    batches = batches_by_length([len(prompt) for prompt in prompts], tokens_per_batch, extra=max_new_tokens)
    with inference(model) as device, _own_settings(model, settings):
        for indices in track(batches, description):
            batch = _pad_left([prompts[index] for index in indices], settings.pad_token_id)
            batch = {key: value.to(device) for key, value in batch.items()}
            output = model.generate(**batch, generation_config=settings)
            # After its end a row is filled up with padding, which is not always a special token.
            ids = _cut_at_end(output[:, batch["input_ids"].shape[1] :].tolist(), settings.eos_token_id)
            for index, continuation in zip(indices, ids, strict=True):
                texts[index] = tokenizer.decode(continuation, skip_special_tokens=True)
    return texts


def answers_to_prompts(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    examples: Sequence[Example],
    records: Sequence[QuestionRecord],
    max_new_tokens: int = 200,
) -> list[str]:
    """`greedy_continuations`, but only of what the teacher-forced pass has not settled already.

    examples, records: the true answers, encoded, and what the teacher-forced pass found of them

    Where every token of the true answer, EOS included, is the model's first choice, greedy decoding writes
    that answer. A model that knows its data well is spared most of the generation.
    """
    tokenizer = encoder.tokenizer
    texts = [
        _settled(tokenizer, prompt, example, record, max_new_tokens)
        for prompt, example, record in zip(prompts, examples, records, strict=True)
    ]
    open_rows = [row for row, text in enumerate(texts) if text is None]
    written = greedy_continuations(model, tokenizer, [prompts[row] for row in open_rows], max_new_tokens)
    for row, text in zip(open_rows, written, strict=True):
        texts[row] = text
    return [text for text in texts if text is not None]


def _settled(
    tokenizer: Any, prompt: Sequence[int], example: Example, record: QuestionRecord, max_new_tokens: int
) -> str | None:
    answer = [label for label in example.labels if label != IGNORED]
    known = (
        record.correct == record.answer.tokens == len(answer) <= max_new_tokens
        and answer[-1] == tokenizer.eos_token_id
        and [*prompt, *answer] == example.input_ids
    )
    return tokenizer.decode(answer, skip_special_tokens=True) if known else None


def _greedy_settings(model: Any, tokenizer: Any, max_new_tokens: int) -> GenerationConfig:
    ends = getattr(model.generation_config, "eos_token_id", None)
    ends = [] if ends is None else list(ends) if isinstance(ends, (list, tuple)) else [ends]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        ends.append(tokenizer.eos_token_id)
    pads = [token for token in (tokenizer.pad_token_id, *ends) if token is not None]
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=pads[0] if pads else 0,
        use_cache=True,
    )


def _cut_at_end(rows: list[list[int]], ends: list[int] | None) -> list[list[int]]:
    stop = set(ends or ())
    return [list(takewhile(lambda token: token not in stop, row)) for row in rows]


@contextmanager
def _own_settings(model: Any, settings: GenerationConfig) -> Iterator[None]:
    """`generate` fills what a call leaves open, a repetition penalty say, from the model: set it aside."""
    # A PeftModel hands its own settings to the model inside, so both are kept and restored.
    holders = [model, model.get_base_model()] if hasattr(model, "get_base_model") else [model]
    kept = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = settings
    try:
        yield
    finally:
        for holder, config in zip(holders, kept, strict=True):
            holder.generation_config = config


def _pad_left(prompts: Sequence[Sequence[int]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, each (batch, longest), int64.

    By hand: padding with the tokenizer would mean to change its `padding_side`.
    """
    length = max(len(prompt) for prompt in prompts)
    padding = [length - len(prompt) for prompt in prompts]
    ids = [[pad_token_id] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * pad + [1] * (length - pad) for pad in padding]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
