"""Batched generation against a decoding loop of one prompt at a time without cache or padding."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from expunge.data.encoding import Example
from expunge.evaluation import generation
from expunge.evaluation.generation import (
    Continuation,
    answers_to_prompts,
    continuations,
    greedy_continuations,
)
from expunge.evaluation.likelihood import answer_losses
from expunge.evaluation.log import QuestionRecord
from expunge.models.answers import IGNORED
from tiny_models import FAMILIES, UNUSUAL, random_model

NEW = 12
#: Families that keep states, or more than keys and values: what has not ended after a round is begun anew.
STATES = ("mamba", "qwen3_next")
_MINIMAX = {"hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 12,
            "intermediate_size": 40, "num_local_experts": 2, "num_experts_per_tok": 1, "block_size": 8}  # fmt: skip
_LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 6, "long_factor": [4.0] * 6, "rope_theta": 1e4,
             "original_max_position_embeddings": 16}  # fmt: skip
#: Whose cache is of a kind of its own, is not used at all, or means something else to fewer rows.
OTHERS: dict[str, dict[str, Any]] = {
    "minimax": {**_MINIMAX, "num_hidden_layers": 3,
                "layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    "openai-gpt": {"n_embd": 24, "n_layer": 2, "n_head": 2},
    "phi3 longrope": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
             "intermediate_size": 40, "rope_parameters": _LONGROPE, "original_max_position_embeddings": 16,
             "max_position_embeddings": 64},
}  # fmt: skip


@pytest.fixture
def prompts() -> list[list[int]]:
    generator = random.Random(1)
    return [[generator.randrange(3, 64) for _ in range(length)] for length in (9, 2, 5, 13, 3, 7)]


def decode_alone(model: torch.nn.Module, prompt: list[int], end: int = 0, new: int = NEW) -> list[int]:
    ids = list(prompt)
    with torch.no_grad():
        while len(ids) < len(prompt) + new:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == end:
                break
    return ids[len(prompt) :]


def end_early(model: torch.nn.Module, prompt: list[int]) -> None:
    """Make the token that the model writes fifth after `prompt` its <end>, token 0, by swapping their rows."""
    fifth = decode_alone(model, prompt, end=-1)[4]
    rows = model.lm_head.weight.data
    rows[[0, fifth]] = rows[[fifth, 0]]


def text(tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("tokens_per_batch", [1, 60, 100_000])
def test_equals_decoding_alone(tiny_llama, word_tokenizer, prompts, tokens_per_batch):
    end_early(tiny_llama, prompts[2])
    alone = [decode_alone(tiny_llama, prompt) for prompt in prompts]
    lengths = {len(ids) for ids in alone}
    assert NEW in lengths, "no row runs to the limit"
    assert min(lengths) < NEW, "no row ends early"
    found = greedy_continuations(tiny_llama, word_tokenizer, prompts, NEW, tokens_per_batch)
    assert found == [text(word_tokenizer, ids) for ids in alone]


@pytest.mark.parametrize("family", [*FAMILIES, *UNUSUAL])
def test_who_has_ended_is_taken_out_of_the_batch(family, word_tokenizer, prompts, monkeypatch):
    """Whatever the model keeps of what it has read: keys and values, of all or of a window, or states, in which rows
    are not told apart."""
    monkeypatch.setattr(generation, "ROUND", 3)
    model = random_model(family).float().eval()
    alone = [decode_alone(model, prompt, end=-1) for prompt in prompts]
    limits = [NEW, NEW, 2, 5, NEW, 1]
    whole = [ids for ids, limit in zip(alone, limits, strict=True) if limit == NEW]
    end = min(
        (token for ids in whole for token in ids[2:]), key=lambda token: sum(token in ids for ids in alone)
    )
    passed: list[tuple[int, int]] = []
    model.get_input_embeddings().register_forward_hook(lambda *given: passed.append(given[1][0].shape))
    found = continuations(model, word_tokenizer, prompts, limits, stops=[end])
    expected = []
    for ids, limit in zip(alone, limits, strict=True):
        place = next((place for place, token in enumerate(ids[:limit]) if token in (0, end)), None)
        expected.append(Continuation(ids[:limit][:place], place is not None))
    assert found == expected
    assert any(each.ended for each in found), "no row ends"
    assert len({len(each.ids) for each in found}) > 2, "the rows are equally long"
    rows = [shape[0] for shape in passed]
    if family in STATES:
        assert rows[-1] < len(prompts)
    else:
        needed = [len(each.ids) + each.ended for each in found]
        assert rows == [sum(each > step // 3 * 3 for each in needed) for step in range(len(rows))]


@pytest.mark.parametrize("family", OTHERS)
def test_where_rows_cannot_be_taken_out_the_texts_are_those_of_one_go(
    family, word_tokenizer, prompts, monkeypatch
):
    torch.manual_seed(1)
    config = AutoConfig.for_model(family.split()[0], vocab_size=97, bos_token_id=0, eos_token_id=0, pad_token_id=0,
                                  **OTHERS[family])  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(5 if parameter.ndim == 2 else 1)
    limits = [NEW, NEW, 2, 5, NEW, 1]
    found = []
    for tokens in (3, 99):
        monkeypatch.setattr(generation, "ROUND", tokens)
        found.append(continuations(model, word_tokenizer, prompts, limits))
    assert found[0] == found[1]
    assert [len(each.ids) for each in found[0]] == limits or any(each.ended for each in found[0])


def test_sampling_settings_are_set_aside_and_given_back(tiny_llama, word_tokenizer, prompts):
    plain = [text(word_tokenizer, decode_alone(tiny_llama, prompt)) for prompt in prompts]
    own = GenerationConfig(do_sample=True, temperature=0.3, top_k=5, repetition_penalty=5.0, max_length=7)
    tiny_llama.generation_config = own
    lines: list[str] = []
    logger = logging.get_logger("transformers")
    logger.addFilter(keep := lambda record: lines.append(record.getMessage()) or True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert greedy_continuations(tiny_llama, word_tokenizer, prompts, NEW) == plain
    finally:
        logger.removeFilter(keep)
    assert lines == []
    assert tiny_llama.generation_config is own


def test_peft_model_and_tokenizer_state(tiny_llama, word_tokenizer, prompts):
    settings = tiny_llama.generation_config
    model = get_peft_model(tiny_llama, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0.0, 0.5)
    alone = [text(word_tokenizer, decode_alone(model.eval(), prompt)) for prompt in prompts]
    model.disable_adapter_layers()
    assert alone != [text(word_tokenizer, decode_alone(model, prompt)) for prompt in prompts]
    model.enable_adapter_layers()
    model.train()
    side = word_tokenizer.padding_side
    assert greedy_continuations(model, word_tokenizer, prompts, NEW, 60) == alone
    assert model.training
    assert model.get_base_model().generation_config is settings
    assert (word_tokenizer.padding_side, word_tokenizer.pad_token) == (side, None)


def test_answers_known_by_heart_are_not_generated(tiny_llama, encoder, prompts, monkeypatch):
    end_early(tiny_llama, prompts[2])
    answers = [decode_alone(tiny_llama, prompt) for prompt in prompts]
    ended = [row for row, answer in enumerate(answers) if answer[-1] == 0]
    assert 0 < len(ended) < len(prompts)
    # A row that the model would answer with other words must be generated although it ends in <end>.
    wrong = ended[0]
    truths = [[5, 6, 0] if row == wrong else answer for row, answer in enumerate(answers)]
    examples = [
        Example(prompt + truth, [IGNORED] * len(prompt) + truth)
        for prompt, truth in zip(prompts, truths, strict=True)
    ]
    losses = answer_losses(tiny_llama, examples, pad_token_id=0)
    records = [QuestionRecord(row, loss, correct=loss.correct) for row, loss in enumerate(losses)]
    generated: list[list[int]] = []
    real = generation.greedy_continuations

    def watched(model, tokenizer, rows, max_new_tokens):
        generated.extend(rows)
        return real(model, tokenizer, rows, max_new_tokens)

    monkeypatch.setattr(generation, "greedy_continuations", watched)
    found = answers_to_prompts(tiny_llama, encoder, prompts, examples, records, NEW)
    assert found == [text(encoder.tokenizer, answer) for answer in answers]
    assert generated == [prompt for row, prompt in enumerate(prompts) if row == wrong or row not in ended]

    # A longer answer than may be generated is cut off, and so is generated as well.
    generated.clear()
    short = answers_to_prompts(tiny_llama, encoder, prompts, examples, records, 2)
    assert short == [text(encoder.tokenizer, answer[:2]) for answer in answers]
    whole = [row for row in ended if row != wrong and len(answers[row]) <= 2]
    assert generated == [prompt for row, prompt in enumerate(prompts) if row not in whole]


@pytest.mark.parametrize("together", [True, False])
def test_answers_end_where_the_window_of_learned_positions_is_full(word_tokenizer, prompts, together):
    """Each prompt by itself: what shares its batch does not shorten its answer."""
    torch.manual_seed(0)
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 16}
    ends = {"bos_token_id": None, "eos_token_id": None}
    model = GPT2LMHeadModel(GPT2Config(**shape, **ends, initializer_range=0.5)).eval()
    found = continuations(model, word_tokenizer, [*prompts, [5] * 16], NEW, 100_000 if together else 1)
    for prompt, continuation in zip(prompts, found, strict=False):
        alone = decode_alone(model, prompt, new=min(NEW, 16 - len(prompt)))
        assert continuation == (([*alone[:-1]], True) if alone[-1] == 0 else (alone, False))
    assert found[-1] == Continuation([], False)
