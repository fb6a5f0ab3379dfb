"""Continuations of many prompts, in left-padded batches of like length: greedy, or as the caller chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ..data.encoding import Encoder, Example
from ..models.answers import IGNORED
from ..models.half_precision import weights_at_hand
from ..models.processes import gathered, share
from ..models.window import vocabulary_of, window_of
from ..progress import track
from .inference import batches_by_length, inference
from .log import QuestionRecord

#: Rows × (prompt + new tokens) in one batch: it bounds the key-value cache.
TOKENS_PER_BATCH = 32768
#: Tokens that are written before those that have ended are taken out of a batch: one that rambles on costs no more than
#: itself.
ROUND = 16


class Continuation(NamedTuple):
    """Token ids that a model wrote, without the end-of-sequence token; whether it wrote one."""

    ids: list[int]
    ended: bool


#: The prompts of a batch, by number, and its width in tokens → the processor that leaves the chosen token
#: alone its logit.
Choice = Callable[[list[int], int], LogitsProcessor]


def greedy_continuations(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 200,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    description: str = "Generating",
) -> list[str]:
    """The texts that the model writes after the prompts (token ids) by greedy decoding, in the order given.

    See `continuations`; special tokens are left out of the text.
    """
    written = continuations(model, tokenizer, prompts, max_new_tokens, tokens_per_batch, description)
    return [tokenizer.decode(continuation.ids, skip_special_tokens=True) for continuation in written]


def continuations(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int | Sequence[int],
    tokens_per_batch: int = TOKENS_PER_BATCH,
    description: str = "Generating",
    *,
    choice: Choice | None = None,
    stops: Sequence[int] = (),
) -> list[Continuation]:
    """The continuations that the model writes after the prompts (token ids), in the order given.

    Decoding ends at the model's or the tokenizer's end-of-sequence token or one of `stops`, after `max_new_tokens` (of
    each prompt, or of all), or where the model's window is full. Every token is the likeliest, or the one that `choice`
    leaves. `tokens_per_batch` bounds rows × (prompt + new tokens), and with that the key-value cache. Sampling settings
    of the model are not used; neither it nor the tokenizer is changed.
    Several processes share the batches: all must call it alike, and all return every continuation.
    """
    settings = _settings(model, tokenizer, stops)
    wanted = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else max_new_tokens
    space = [window_of(model.config) - len(prompt) for prompt in prompts]
    limits = [min(pair) for pair in zip(wanted, space, strict=True)]
    # The rows of a batch may all be written on as long, though each ends at its own limit.
    room = [min(max(wanted), free) if limit > 0 else 0 for limit, free in zip(limits, space, strict=True)]
    written = {index: Continuation([], False) for index, new in enumerate(room) if new < 1}
    batches = _batches_by_room([len(prompt) for prompt in prompts], room, tokens_per_batch)
    with inference(model) as device, weights_at_hand(model), _own_settings(model, settings):
        for indices in track(share(batches), description):
            batch = _pad_left([prompts[index] for index in indices], settings.pad_token_id)
            written |= _written(
                model,
                {key: value.to(device) for key, value in batch.items()},
                indices,
                [limits[index] for index in indices],
                settings,
                choice,
            )
    written = gathered(written)
    return [written[index] for index in range(len(prompts))]


def _written(
    model: Any,
    batch: dict[str, Any],
    indices: list[int],
    limits: list[int],
    settings: GenerationConfig,
    choice: Choice | None,
) -> dict[int, Continuation]:
    """The continuations of a batch, by index. Who has ended is taken out of it every `ROUND` tokens.

    batch:  `input_ids` and `attention_mask`, both (rows, width)
    limits: tokens to write of every row, at most
    """
    written: dict[int, Continuation] = {}
    start, width = batch, batch["input_ids"].shape[1]
    rows, steps = list(range(len(indices))), ROUND if _can_be_gone_on_with(model) else max(limits)
    while rows:
        done = batch["input_ids"].shape[1] - width
        settings.max_new_tokens = min(steps, max(limits[row] for row in rows) - done)
        chosen = [choice([indices[row] for row in rows], width)] if choice else []
        output = model.generate(
            **batch, generation_config=settings, logits_processor=LogitsProcessorList(chosen)
        )
        sequences = getattr(output, "sequences", output)  # a model's own code may give no more than these
        still_open = []
        for place, tokens in enumerate(sequences[:, width:].tolist()):
            row = rows[place]
            found = _cut_at_end(tokens[: limits[row]], settings.eos_token_id)
            if found.ended or len(tokens) >= limits[row]:
                written[indices[row]] = found
            else:
                still_open.append(place)
        rows = [rows[place] for place in still_open]
        if not rows:
            break
        cache: Any = getattr(output, "past_key_values", None)
        if _can_lose_rows(cache, sequences.shape[1] - 1):
            places = torch.tensor(still_open, device=sequences.device)
            cache.batch_select_indices(places)
            ids, mask = sequences[places], batch["attention_mask"][places]
            batch = {
                "input_ids": ids,
                "past_key_values": cache,
                "attention_mask": torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1),
            }
        else:  # anew, and in one go
            steps, batch = max(limits), {name: tensor[rows] for name, tensor in start.items()}
    return written


def _can_be_gone_on_with(model: Any) -> bool:
    """Whether what the model has read of a batch is all in its cache, and looks the same to fewer rows.

    An assistant's is not in the base's. The frequencies of longrope follow from the longest row of a batch.
    """
    config = model.config.get_text_config()
    kinds = str(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None))
    return not getattr(model, "keeps_a_second_cache", False) and "longrope" not in kinds


def _can_lose_rows(cache: Any, length: int) -> bool:
    """Whether the cache holds all `length` tokens that were read, and its rows are apart; of others nobody knows."""
    return (
        type(cache) is DynamicCache
        and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)
        and cache.get_seq_length() == length
    )


def answers_to_prompts(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    examples: Sequence[Example],
    records: Sequence[QuestionRecord],
    max_new_tokens: int = 200,
) -> list[str]:
    """`greedy_continuations`, but only of what the teacher-forced pass has not settled already.

    examples, records: the true answers, encoded, and their records from the teacher-forced pass

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


def _batches_by_room(lengths: Sequence[int], room: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Batches of prompts that may all grow by the same number of tokens, whatever they share a batch with."""
    batches = []
    for new in sorted({new for new in room if new > 0}, reverse=True):
        members = [index for index, own in enumerate(room) if own == new]
        cuts = batches_by_length([lengths[index] for index in members], tokens_per_batch, extra=new)
        batches += [[members[place] for place in cut] for cut in cuts]
    return batches


def _settings(model: Any, tokenizer: Any, stops: Sequence[int]) -> GenerationConfig:
    ends = getattr(model.generation_config, "eos_token_id", None)
    ends = [] if ends is None else list(ends) if isinstance(ends, (list, tuple)) else [ends]
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ends += [token for token in (*own, *stops) if token not in ends]
    # A tokenizer may have been given a padding token that the embedding lacks; it is never looked at.
    read = vocabulary_of(model.config)
    pads = [token for token in (tokenizer.pad_token_id, *ends) if token is not None and token < read]
    return GenerationConfig(
        do_sample=False,
        eos_token_id=ends or None,
        pad_token_id=pads[0] if pads else 0,
        use_cache=True,
        return_dict_in_generate=True,
    )


def _cut_at_end(row: list[int], ends: list[int] | None) -> Continuation:
    """After its end a row is filled up with padding, which is not always a special token."""
    end = next((place for place, token in enumerate(row) if token in (ends or ())), None)
    return Continuation(row[:end], end is not None)


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
    """`input_ids` and `attention_mask`, both (batch, longest), int64.

    By hand: padding with the tokenizer would mean to change its `padding_side`.
    """
    length = max(len(prompt) for prompt in prompts)
    padding = [length - len(prompt) for prompt in prompts]
    ids = [[pad_token_id] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
    mask = [[0] * pad + [1] * (length - pad) for pad in padding]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
