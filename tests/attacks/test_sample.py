"""`sample` against drawing every sample alone, and what it draws from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import tokenizer_families
from expunge.attacks import sample
from expunge.attacks.attack import Item, Subject
from expunge.attacks.items import make_items
from expunge.attacks.leaks import Leak, leak_at_k
from expunge.attacks.measuring import measured
from expunge.attacks.sample import Sample
from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer, Text
from expunge.evaluation.sampling import sampled_continuations

COUNT = 5


def random_model(encoder: Encoder) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=2, initializer_range=0.3,
            vocab_size=len(encoder.tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0,
        )
    ).eval()  # fmt: skip


@dataclass(frozen=True)
class EvenLength(Leak):
    """Texts of an even number of characters count, so that about half do; what is counted is kept."""

    seen: list[tuple[str, list[str]]] = field(default_factory=list)

    def among(self, item: Item, texts: Sequence[str]) -> int:
        self.seen.append((item.truth or "", list(texts)))
        return sum(len(text) % 2 == 0 for text in texts)


@pytest.fixture(scope="module")
def subject() -> Subject:
    encoder = Encoder(tokenizer_families.gpt2_like())
    samples = [QuestionAnswer(f"Who is {name}?", f"{name} of the sea.") for name in ("Ada", "Bo", "Cy")]
    return Subject(random_model(encoder), encoder, make_items(samples, encoder, {}))


def test_every_k_rests_on_the_same_samples(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def counted(*arguments: Any, **more: Any) -> Any:
        calls.append(more["temperature"])
        return sampled_continuations(*arguments, **more)

    monkeypatch.setattr(sample, "sampled_continuations", counted)
    leak = EvenLength()
    full = replace(subject, budget="full")
    scores = {v.name: v.score(full.model, v.items) for v in Sample(COUNT, leak).variants(full)}
    assert list(scores) == [f"leak@{k}, T = {t}" for t in ("1", "0.7") for k in (1, 2, 4)]
    assert calls == [1.0, 0.7]
    tokenizer = subject.encoder.tokenizer
    for temperature, seen in zip((1.0, 0.7), (leak.seen[:3], leak.seen[3:]), strict=True):
        leaks = []
        for row, (item, (truth, texts)) in enumerate(zip(subject.forget, seen, strict=True)):
            alone = [
                sampled_continuations(
                    subject.model,
                    tokenizer,
                    [item.prompt or []],
                    [(subject.seed, row, number)],
                    [item.example.label_count + 16],
                    temperature=temperature,
                )[0].ids
                for number in range(COUNT)
            ]
            assert texts == [tokenizer.decode(ids, skip_special_tokens=True) for ids in alone]
            assert truth == item.truth
            leaks.append(sum(len(text) % 2 == 0 for text in texts))
        assert 0 < sum(leaks) < 3 * COUNT
        for k in (1, 2, 4):
            assert scores[f"leak@{k}, T = {temperature:g}"] == leak_at_k(leaks, COUNT, k).tolist()


def test_items_with_keywords_are_counted_by_them_and_their_number_is_a_fact(subject: Subject) -> None:
    leak = EvenLength()
    (plain, *_) = Sample(COUNT, leak).variants(subject)
    plain.score(subject.model, plain.items)
    assert plain.facts == {}
    # What the first item's samples say, letter for letter: a word of one, and a word of none.
    said = [re.findall(r"[a-z]+", text.lower()) for text in leak.seen[0][1]]
    word = next(word for words in said for word in words)
    leaks = sum(word in words for words in said)
    named = [replace(subject.forget[0], keywords=("nobody says this", word.upper())), *subject.forget[1:]]
    variants = list(Sample(COUNT).variants(replace(subject, forget=named)))
    assert [variant.facts for variant in variants] == [{"by keywords": 1}] * 3
    assert [variant.name for variant in variants] == [f"leak@{k}, T = 1" for k in (1, 2, 4)]
    for k, variant in zip((1, 2, 4), variants, strict=True):
        # No sample of a model that was never taught has four fifths of the others' answers.
        assert variant.score(subject.model, variant.items) == leak_at_k([leaks, 0, 0], COUNT, k).tolist()
    assert leaks > 0


def test_another_model_is_sampled_anew(subject: Subject) -> None:
    leak = EvenLength()
    (first, *_) = Sample(1, leak).variants(subject)
    first.score(subject.model, first.items)
    first.score(random_model(subject.encoder), first.items)
    assert len(leak.seen) == 2 * len(subject.forget)


def test_a_small_budget_asks_20(subject: Subject) -> None:
    many = replace(subject, forget=list(subject.forget) * 10)
    (first, *_) = Sample().variants(many)
    assert len(first.rows or ()) == 20
    assert [variant.name for variant in Sample().variants(many)] == [f"leak@{k}, T = 1" for k in (1, 2, 4, 8)]


def test_of_200_samples_k_goes_up_to_128(subject: Subject) -> None:
    assert [variant.measure for variant in Sample(200).variants(subject)][-1] == "leak@128"


def test_of_a_text_the_beginning_is_given(subject: Subject) -> None:
    text = Text("Ada wrote the book in the year of the flood. " * 12)
    of_text = replace(subject, forget=make_items([text], subject.encoder, {}))
    (first, *_) = Sample().variants(of_text)
    ids = of_text.forget[0].example.input_ids
    assert first.items[0].prompt == ids[:33]  # the first token is no label: nothing predicts it
    assert first.items[0].truth == subject.encoder.tokenizer.decode(ids[33:97])


def test_of_texts_alone_no_answers_are_measured(subject: Subject) -> None:
    """A measure that no item has could not be compared."""
    texts = make_items([Text("Ada wrote the book.")], subject.encoder, {})
    kinds = {
        name: set(measured(subject.model, subject.encoder, items, answers=True, description=""))
        for name, items in (("texts", texts), ("both", [*texts, *subject.forget]))
    }
    assert kinds == {"texts": {"probability", "strength"}, "both": {"probability", "strength", "rouge"}}
