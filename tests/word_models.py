"""A model of random weights and a tokenizer of one word per token, both made on the spot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expunge.data.encoding import Encoder

VOCABULARY = 64


@pytest.fixture
def tiny_llama() -> LlamaForCausalLM:
    """Two layers in fp32; weights large enough that its first choices differ from place to place."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def word_tokenizer() -> PreTrainedTokenizerFast:
    """`w5` is token 5; token 0 is `<end>`. There is no pad token."""
    words: dict[str, int] = {"<end>": 0, "Question:": 1, "Answer:": 2}
    words |= {f"w{index}": index for index in range(3, VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w3"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


@pytest.fixture
def encoder(word_tokenizer: Any) -> Encoder:
    return Encoder(word_tokenizer, max_length=48)
