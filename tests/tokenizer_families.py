"""Small tokenizers that treat BOS and EOS as the families that users have do."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

_TEXT = [
    "Question: Who wrote the book?\nAnswer: Ada wrote the book in the year of the flood.",
    "Question: Where was Ada born?\nAnswer: Ada was born in a town by the sea, in spring.",
    "[INST] What is the colour of the sea? [/INST]The sea is green and grey and blue.",
]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def llama_like() -> PreTrainedTokenizerFast:
    """Metaspace pieces, `<s>` put before every text, `</s>` never added, no padding token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        _TEXT,
        trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def gpt2_like() -> PreTrainedTokenizerFast:
    """Byte-level pieces, nothing added; one token is BOS and EOS; no padding token. Phi's is of this kind."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(["<|endoftext|>"]), bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def ending() -> PreTrainedTokenizerFast:
    """Byte-level pieces with EOS put after every text by the tokenizer itself."""
    tokenizer = _byte_level(["<|endoftext|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def chat() -> PreTrainedTokenizerFast:
    """A chat template whose turns end with a token of their own, which is EOS as well."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(["<|im_start|>", "<|im_end|>"]), eos_token="<|im_end|>"
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def _byte_level(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _TEXT,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer
