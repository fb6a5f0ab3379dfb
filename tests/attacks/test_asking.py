"""What a model reads and what counts, where a question is asked otherwise: as text, for every kind of template."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import tokenizer_families
from expunge.attacks.asking import ask, begun, question_of, reasked
from expunge.attacks.attack import Item, Subject
from expunge.attacks.items import make_items
from expunge.data.encoding import Encoder
from expunge.data.samples import Conversation, QuestionAnswer, Sample, Text
from expunge.data.templates import TEMPLATES, ChatTemplate
from expunge.models.answers import IGNORED

QA = QuestionAnswer("Who wrote the book?", "Ada wrote the book.")
SHOWN = [("Where is Bo?", "Bo is here."), ("Who is Cy?", "Cy is Bo.")]
TALK = Conversation(
    (
        ("system", "Be kind."),
        ("user", "Hello."),
        ("assistant", "Hello to you."),
        ("user", "Who wrote the book?"),
        ("assistant", "Ada wrote the book."),
    )
)


def plain(template: str = "question-answer") -> Encoder:
    return Encoder(tokenizer_families.gpt2_like(), TEMPLATES[template])


def chat() -> Encoder:
    return Encoder(tokenizer_families.chat(), ChatTemplate())


def item_of(sample: Sample, encoder: Encoder) -> Item:
    return make_items([sample], encoder, {})[0]


def read(item: Item, encoder: Encoder) -> tuple[str, str]:
    """The text before the answer, and the answer with its closing; the prompt is the former."""
    assert item.example.input_ids[: len(item.prompt or [])] == item.prompt
    places = [place for place, label in enumerate(item.example.labels) if label != IGNORED]
    start = len(item.prompt or [])
    assert places == list(range(start, len(item.example)))
    return encoder.tokenizer.decode(item.prompt or []), encoder.tokenizer.decode(
        item.example.input_ids[start:]
    )


@pytest.mark.parametrize(
    ("how", "before", "counted"),
    [
        ({}, "Question: Who wrote the book?\nAnswer:", " Ada wrote the book.<|endoftext|>"),
        (
            {"question": "Whose book?"},
            "Question: Whose book?\nAnswer:",
            " Ada wrote the book.<|endoftext|>",
        ),
        (
            {"given": "Sure:"},
            "Question: Who wrote the book?\nAnswer: Sure:",
            " Ada wrote the book.<|endoftext|>",
        ),
        (
            {"shown": SHOWN, "answer": "Dee."},
            "Question: Where is Bo?\nAnswer: Bo is here.\n\nQuestion: Who is Cy?\nAnswer: Cy is Bo.\n\n"
            "Question: Who wrote the book?\nAnswer:",
            " Dee.<|endoftext|>",
        ),
        (
            {"shown": SHOWN[:1], "question": "Whose book?", "given": "Sure:"},
            "Question: Where is Bo?\nAnswer: Bo is here.\n\nQuestion: Whose book?\nAnswer: Sure:",
            " Ada wrote the book.<|endoftext|>",
        ),
    ],
)
def test_a_plain_question(how: dict[str, Any], before: str, counted: str) -> None:
    encoder = plain()
    assert read(ask(item_of(QA, encoder), encoder, **how), encoder) == (before, counted)


def test_a_template_whose_question_is_closed() -> None:
    encoder = plain("tofu-llama2")
    asked = ask(item_of(QA, encoder), encoder, shown=SHOWN[:1], given="Sure:")
    before = "[INST] Where is Bo? [/INST]Bo is here.\n\n[INST] Who wrote the book? [/INST]Sure:"
    assert read(asked, encoder) == (before, " Ada wrote the book.<|endoftext|>")


def test_a_question_to_a_chat_model() -> None:
    encoder = chat()
    asked = ask(item_of(QA, encoder), encoder, question="Whose book?", shown=SHOWN[:1], given="Sure:")
    assert read(asked, encoder) == (
        "<|im_start|>user\nWhere is Bo?<|im_end|>\n<|im_start|>assistant\nBo is here.<|im_end|>\n"
        "<|im_start|>user\nWhose book?<|im_end|>\n<|im_start|>assistant\nSure:",
        " Ada wrote the book.<|im_end|>",
    )


def test_of_a_conversation_the_last_question_is_rewritten_and_the_last_answer_counts() -> None:
    encoder = chat()
    item = item_of(TALK, encoder)
    assert question_of(item) == "Who wrote the book?"
    asked = ask(item, encoder, question="Whose book?", shown=SHOWN[:1])
    assert read(asked, encoder) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello.<|im_end|>\n"
        "<|im_start|>assistant\nHello to you.<|im_end|>\n"
        "<|im_start|>user\nWhere is Bo?<|im_end|>\n<|im_start|>assistant\nBo is here.<|im_end|>\n"
        "<|im_start|>user\nWhose book?<|im_end|>\n<|im_start|>assistant\n",
        "Ada wrote the book.<|im_end|>",
    )


def subject_of(samples: list[Sample], encoder: Encoder) -> Subject:
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=4096))
    return Subject(SimpleNamespace(config=config), encoder, make_items(samples, encoder, {}))


def test_without_the_attack_the_same_answer_counts() -> None:
    """Of a conversation that is the last answer, where usually all are; of a question there is nothing to change."""
    encoder = chat()
    whole = reasked("x", subject_of([TALK, QA], encoder), [0, 1], lambda item, e: ask(item, e, given="Sure:"))
    assert whole.plain is not None
    assert whole.rows is None
    assert [read(item, encoder)[1] for item in whole.plain] == ["Ada wrote the book.<|im_end|>"] * 2
    alone = reasked("x", subject_of([TALK, QA], encoder), [1], lambda item, e: ask(item, e, given="Sure:"))
    assert alone.plain is None
    assert alone.rows == [1]


def test_the_first_examples_give_way_where_there_is_no_room() -> None:
    encoder = plain()
    item = item_of(QA, encoder)
    everything = len(ask(item, encoder, shown=SHOWN).example)
    tight = replace(encoder, max_length=everything - 1)
    before = "Question: Who is Cy?\nAnswer: Cy is Bo.\n\nQuestion: Who wrote the book?\nAnswer:"
    assert read(ask(item, tight, shown=SHOWN), encoder) == (before, " Ada wrote the book.<|endoftext|>")


def test_an_answer_that_is_cut_off_stays_as_long() -> None:
    encoder = plain()
    short = replace(encoder, max_length=len(QA.encode(encoder)[0]) - 2)
    item = item_of(QA, short)
    assert item.example.cut
    asked = ask(item, encoder, given="Sure:")
    assert asked.example.labels[-3:] == item.example.labels[-3:]
    assert asked.example.label_count == item.example.label_count


def test_the_beginning_of_an_answer_is_given() -> None:
    encoder = plain()
    item = item_of(QA, encoder)
    for tokens in (0, 2):
        got = begun(item, encoder, tokens)
        before, rest = read(got, encoder)
        assert before + rest == encoder.tokenizer.decode(item.example.input_ids)
        assert got.example.label_count == item.example.label_count - tokens
        assert got.truth == rest.removesuffix("<|endoftext|>")
    assert begun(item, encoder, 99).example.label_count == -(-item.example.label_count // 2)
    assert begun(item, encoder, 2, most=3).example.label_count == 3
    assert (
        begun(item, encoder, 2, most=3).example.labels[-3:]
        == item.example.labels[len(item.prompt or []) + 2 :][:3]
    )


def test_the_beginning_of_a_text_is_given() -> None:
    encoder = Encoder(tokenizer_families.llama_like())
    item = item_of(Text("Ada wrote the book in the year of the flood."), encoder)
    assert item.example.labels[0] == IGNORED  # BOS
    got = begun(item, encoder, 4)
    assert got.prompt == item.example.input_ids[:5]
    assert got.truth == encoder.tokenizer.decode(item.example.input_ids[5:])
