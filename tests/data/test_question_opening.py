"""Where a question of the model's own begins and ends, in each family of tokenizers and templates."""

from __future__ import annotations

import pytest

import tokenizer_families
from expunge.data.encoding import Encoder
from expunge.data.templates import TEMPLATES, Template
from expunge.errors import InputError

FAMILIES = ["llama_like", "gpt2_like", "ending", "chat"]


def make(family: str, template: Template) -> Encoder:
    return Encoder(getattr(tokenizer_families, family)(), template)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["question-answer", "tofu-phi", "tofu-llama2"])
def test_a_prompt_is_the_opening_with_a_question_and_the_closing(family: str, name: str) -> None:
    encoder = make(family, TEMPLATES[name])
    prompt = encoder.prompt("Where was Ada born?")
    assert prompt[: len(encoder.question_opening)] == encoder.question_opening
    written = encoder.tokenizer.decode(prompt[len(encoder.question_opening) :])
    question, closing, rest = written.partition(encoder.question_closing)
    assert (question.strip(), closing, rest.strip()) == ("Where was Ada born?", encoder.question_closing, "")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["question-answer", "tofu-phi", "tofu-llama2", "chat"])
def test_a_question_that_is_begun_is_the_beginning_of_its_prompt(family: str, name: str) -> None:
    encoder = make(family, TEMPLATES[name])
    if name == "chat" and encoder.tokenizer.chat_template is None:
        encoder.tokenizer.chat_template = "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
    begun = encoder.question_begun("Where was Ada")
    assert begun == encoder.prompt("Where was Ada born?")[: len(begun)]
    written = encoder.tokenizer.decode(begun, skip_special_tokens=True)
    opening = encoder.tokenizer.decode(encoder.question_opening, skip_special_tokens=True)
    assert written.removeprefix(opening).strip() == "Where was Ada"


def test_openings_by_hand() -> None:
    encoder = make("llama_like", TEMPLATES["tofu-llama2"])
    assert encoder.tokenizer.decode(encoder.question_opening) == "<s> [INST]"
    assert encoder.question_closing == "[/INST]"
    chat = make("chat", TEMPLATES["chat"])
    assert chat.tokenizer.decode(chat.question_opening) == "<|im_start|>user\n"
    assert chat.question_closing == "<|im_end|>\n<|im_start|>assistant"
    plain = make("gpt2_like", TEMPLATES["question-answer"])
    assert plain.tokenizer.decode(plain.question_opening) == "Question:"
    assert plain.question_closing == "Answer:"


def test_what_a_template_without_a_beginning_and_a_text_start_from() -> None:
    bare = Template("{question}\n")
    assert make("gpt2_like", bare).question_opening == [
        0
    ]  # <|endoftext|>, which this tokenizer never sets itself
    assert make("gpt2_like", bare).question_closing == "\n"
    assert make("llama_like", bare).start == [1]
    assert make("ending", bare).start == [0]


def test_a_tokenizer_without_bos_and_eos_has_nothing_to_start_from() -> None:
    encoder = make("gpt2_like", Template())
    encoder.tokenizer.bos_token = encoder.tokenizer.eos_token = None
    with pytest.raises(InputError, match=r"data\.retain: the tokenizer has neither BOS nor EOS"):
        _ = encoder.start
