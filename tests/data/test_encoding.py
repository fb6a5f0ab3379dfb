"""Labels are on the answer alone, BOS and EOS are where the model's family has them."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer

import tokenizer_families as families
from expunge.data.encoding import Encoder, Example, collate
from expunge.data.templates import TEMPLATES, Template, choose_template
from expunge.errors import InputError
from expunge.models.answers import IGNORED

QUESTION, ANSWER = "Where was Ada born?", "Ada was born in a town by the sea."


def labelled_text(encoder: Encoder, example: Example) -> str:
    return encoder.tokenizer.decode([label for label in example.labels if label != IGNORED])


@pytest.mark.parametrize("template", ["question-answer", "tofu-phi", "tofu-llama2"])
@pytest.mark.parametrize(
    ("family", "begins", "ends"),
    [("llama_like", "<s>", "</s>"), ("gpt2_like", None, "<|endoftext|>"), ("ending", None, "<|endoftext|>")],
)
def test_the_answer_and_one_end_token_are_predicted(
    template: str, family: str, begins: str | None, ends: str
) -> None:
    tokenizer = getattr(families, family)()
    encoder = Encoder(tokenizer, TEMPLATES[template])
    example = encoder.answer(QUESTION, ANSWER)
    assert labelled_text(encoder, example).replace(ends, "").strip() == ANSWER
    ids = example.input_ids
    assert ids.count(tokenizer.convert_tokens_to_ids(ends)) == 1
    assert ids[-1] == example.labels[-1] == tokenizer.convert_tokens_to_ids(ends)
    if begins:
        assert ids[0] == tokenizer.convert_tokens_to_ids(begins)
        assert ids.count(ids[0]) == 1
    assert example.labels[0] == IGNORED
    assert example.label_count == sum(label != IGNORED for label in example.labels)


@pytest.mark.parametrize("template", ["question-answer", "tofu-phi", "tofu-llama2"])
@pytest.mark.parametrize("family", ["llama_like", "gpt2_like", "ending"])
def test_a_generation_starts_where_the_labels_do(template: str, family: str) -> None:
    encoder = Encoder(getattr(families, family)(), TEMPLATES[template])
    example = encoder.answer(QUESTION, ANSWER)
    first = next(index for index, label in enumerate(example.labels) if label != IGNORED)
    assert encoder.prompt(QUESTION) == example.input_ids[:first]


def test_a_space_in_the_prompt_belongs_to_the_answers_first_token() -> None:
    """`Answer: ` + `Ada`: the tokenizer merges the space into ` Ada`, so that token is the answer's."""
    tokenizer = families.gpt2_like()
    example = Encoder(tokenizer, TEMPLATES["tofu-phi"]).answer(QUESTION, ANSWER)
    first = next(label for label in example.labels if label != IGNORED)
    assert tokenizer.decode([first]).startswith(" ")


def test_a_conversation_is_written_by_the_chat_template_and_every_assistant_turn_counts() -> None:
    tokenizer = families.chat()
    assert choose_template("auto", tokenizer) is TEMPLATES["chat"]
    encoder = Encoder(tokenizer, TEMPLATES["chat"])
    example = encoder.messages(
        [
            {"role": "user", "content": "Where was Ada born?"},
            {"role": "assistant", "content": "In a town."},
            {"role": "user", "content": "When?"},
            {"role": "assistant", "content": "In spring."},
        ]
    )
    text = labelled_text(encoder, example)
    assert text == "In a town.<|im_end|>\nIn spring.<|im_end|>"
    assert tokenizer.decode(example.input_ids).endswith("In spring.<|im_end|>")
    single = encoder.answer(QUESTION, ANSWER)
    assert labelled_text(encoder, single) == f"{ANSWER}<|im_end|>"
    assert tokenizer.decode(encoder.prompt(QUESTION)).endswith("<|im_start|>assistant\n")


def test_a_conversation_without_a_chat_template_must_be_one_question_and_its_answer() -> None:
    tokenizer = families.gpt2_like()
    encoder = Encoder(tokenizer)
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    assert encoder.messages(turns) == encoder.answer(QUESTION, ANSWER)
    for wrong in (turns + turns, turns[1:], [{"role": "system", "content": "Be kind."}, *turns]):
        with pytest.raises(InputError, match="Use a model with a chat template"):
            encoder.messages(wrong)
    with pytest.raises(InputError, match="has no chat template"):
        choose_template("chat", tokenizer)


def test_a_chat_template_that_refuses_is_quoted() -> None:
    tokenizer = families.chat()
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(InputError, match="no system role"):
        Encoder(tokenizer, TEMPLATES["chat"]).answer(QUESTION, ANSWER)


def test_other_braces_in_a_template_stay() -> None:
    tokenizer = families.gpt2_like()
    encoder = Encoder(tokenizer, Template('{"q": "{question}", "a": "', '{answer}"}'))
    example = encoder.answer("Who?", "Ada.")
    assert tokenizer.decode(example.input_ids) == '{"q": "Who?", "a": "Ada."}<|endoftext|>'
    assert labelled_text(encoder, example).endswith('Ada."}<|endoftext|>')


def test_without_a_chat_template_the_plain_form_is_chosen() -> None:
    assert choose_template("auto", families.gpt2_like()) is TEMPLATES["question-answer"]


@pytest.mark.parametrize("family", ["llama_like", "gpt2_like"])
def test_text_is_cut_into_chunks_and_every_token_but_the_first_is_predicted_once(family: str) -> None:
    tokenizer = getattr(families, family)()
    text = " ".join(["Ada was born in a town by the sea."] * 5)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    chunks = Encoder(tokenizer, max_length=16).text(text)
    assert len(chunks) > 2
    assert all(len(chunk) <= 16 for chunk in chunks)
    assert all(chunk.labels == [IGNORED, *chunk.input_ids[1:]] for chunk in chunks)
    predicted = [label for chunk in chunks for label in chunk.labels[1:]]
    if family == "llama_like":
        assert all(chunk.input_ids[0] == tokenizer.bos_token_id for chunk in chunks)
        assert predicted == ids
    else:
        assert predicted == ids[1:]


def test_collating_pads_on_the_right_with_no_label() -> None:
    batch = collate([Example([5, 6, 7], [-100, 6, 7]), Example([8, 9], [-100, 9])], pad_token_id=1)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [-100, 9, -100]]
    assert collate([], pad_token_id=1)["input_ids"].shape == (0, 1)


@pytest.mark.shared
def test_the_real_llama_tokenizer_of_tinystories(shared) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "tinystories-656k")
    example = Encoder(tokenizer).answer(QUESTION, ANSWER)
    assert example.input_ids[0] == tokenizer.bos_token_id
    assert example.input_ids[-1] == tokenizer.eos_token_id
    assert ANSWER in tokenizer.decode(example.input_ids)


@pytest.mark.shared
def test_the_tofu_tiny_format_is_the_one_it_was_trained_with(shared) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "tofu-tiny" / "full")
    encoder = Encoder(tokenizer)
    example = encoder.answer(QUESTION, ANSWER)
    assert tokenizer.decode(example.input_ids) == f"Question: {QUESTION}\nAnswer: {ANSWER}<|endoftext|>"
    assert labelled_text(encoder, example) == f" {ANSWER}<|endoftext|>"


def test_an_answer_beyond_the_longest_sequence_has_no_label() -> None:
    example = Encoder(families.gpt2_like(), max_length=8).answer(QUESTION * 5, ANSWER)
    assert len(example) == 8
    assert example.label_count == 0


def test_labels_line_up_with_the_logits_that_predict_them() -> None:
    """`answer_tokens` picks position t − 1 for label t: against full logits and cross entropy."""
    from expunge.models.answers import answer_tokens
    from tiny_models import random_batch, random_model

    model, batch = random_model(), random_batch(5)
    tokens = answer_tokens(model, batch)
    full = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    wanted = []
    for row in range(5):
        for t in range(1, full.shape[1]):
            if batch["labels"][row, t] != IGNORED:
                wanted.append(torch.log_softmax(full[row, t - 1].double(), 0)[batch["labels"][row, t]])
    torch.testing.assert_close(tokens.log_probability.double(), torch.stack(wanted), rtol=1e-4, atol=1e-5)
    part = tokens.rows(2, 4)
    assert part.sequences == 2
    inside = (tokens.sequence >= 2) & (tokens.sequence < 4)
    torch.testing.assert_close(part.log_probability, tokens.log_probability[inside])
    probabilities = torch.softmax(tokens.logits.double(), -1)
    probabilities.scatter_(1, tokens.targets[:, None], -1.0)
    torch.testing.assert_close(
        tokens.best_other_log_probability.double().exp(), probabilities.max(1).values, rtol=1e-4, atol=1e-7
    )
