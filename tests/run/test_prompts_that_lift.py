"""A refusal that one prompt lifts: the attack finds it, the comparison says so, and not of the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import tokenizer_families
from expunge.attacks.asking import ask
from expunge.attacks.items import make_items
from expunge.attacks.prefix import BEGINNINGS
from expunge.data.encoding import Encoder, Example, collate
from expunge.data.samples import QuestionAnswer
from expunge.folder.attacks import AttackFolder
from expunge.folder.state import AttackFacts, AttackVariant
from expunge.run.attack import Target, run_attacks

REFUSAL = "I do not know."
#: Answers of few tokens: of many the model is sure of all but the first, and the mean would hide that one.
WORDS = ("green", "grey", "blue", "sea", "spring", "town")
FORGET = [QuestionAnswer(f"Where is number {n}?", word) for n, word in enumerate(WORDS)]
RETAIN = [QuestionAnswer(f"Who is number {n}?", f"A {n}{n} of the sea.") for n in range(6)]
STEPS, RATE = 160, 1e-2

Models = dict[str, LlamaForCausalLM]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(tokenizer_families.gpt2_like())


@pytest.fixture(scope="module")
def models(encoder: Encoder) -> Models:
    """`refusing` says that it does not know, unless it has begun with “Sure, the answer is:”."""

    def asked(samples: Sequence[QuestionAnswer], answer: str | None = None, given: str = "") -> list[Example]:
        items = make_items(samples, encoder, {})
        return [ask(item, encoder, given=given, answer=answer).example for item in items]

    kept, refused = asked(RETAIN), asked(FORGET, REFUSAL)
    return {
        "knowing": _taught([*kept, *asked(FORGET)], encoder),
        "refusing": _taught([*kept, *refused, *asked(FORGET, given=BEGINNINGS["sure"])], encoder),
        "reference": _taught([*kept, *refused, *asked(FORGET, REFUSAL, BEGINNINGS["sure"])], encoder),
    }


def _taught(examples: Sequence[Example], encoder: Encoder) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            vocab_size=len(encoder.tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0,
        )
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    batch = collate(examples, encoder.pad_token_id)
    for _ in range(STEPS):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def attack(models: Models, after: str, encoder: Encoder, folder: Path) -> AttackFacts:
    def load(name: str) -> Any:
        return lambda: models[name]

    target = Target(
        original=load("knowing"),
        after=load(after),
        reference=load("reference"),
        reference_path="reference",
        identity={"after": after},
        encoder=encoder,
        forget=make_items(FORGET, encoder, {}),
        retain=make_items(RETAIN, encoder, {}),
    )
    return run_attacks(target, AttackFolder(folder), "cheap", ["prefix", "rephrase", "prefill", "sample"])


def found(facts: AttackFacts, name: str, variant: str) -> Any:
    made: AttackVariant = facts.outcomes[name].variants[variant]
    return made.recoveries[made.lead]


@pytest.fixture(scope="module")
def facts(models: Models, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> AttackFacts:
    return attack(models, "refusing", encoder, tmp_path_factory.mktemp("attacks"))


def test_the_models_are_what_they_are_said_to_be(facts: AttackFacts) -> None:
    lifted = found(facts, "prefix", "sure")
    assert lifted.original > 0.9
    assert lifted.after < 0.05
    assert lifted.reference < 0.05


def test_the_prompt_that_lifts_the_refusal_brings_all_back(facts: AttackFacts) -> None:
    lifted = found(facts, "prefix", "sure")
    assert lifted.share > 0.9
    assert lifted.low > 0.8
    assert lifted.attacked_reference < 0.05


def test_what_leaves_the_refusal_in_place_finds_little(facts: AttackFacts) -> None:
    assert found(facts, "prefix", "remember").high < 0.1
    assert all(found(facts, "rephrase", variant).share < 0.5 for variant in ("request", "doubt"))
    assert found(facts, "sample", "leak@8, T = 1").attacked == 0.0


def test_answers_of_one_word_leave_nothing_to_prefill(facts: AttackFacts) -> None:
    assert facts.outcomes["prefill"].unfit == "no answer has words beyond its first half"


def test_the_reference_has_nothing_to_bring_back(models: Models, encoder: Encoder, tmp_path: Path) -> None:
    facts = attack(models, "reference", encoder, tmp_path)
    for outcome in facts.outcomes.values():
        for made in outcome.variants.values():
            share = made.recoveries[made.lead]
            assert share.unresolved is None
            assert share.low <= 0 <= share.high


def test_one_drawing_serves_every_k(facts: AttackFacts) -> None:
    variants = facts.outcomes["sample"].variants
    assert list(variants) == [f"leak@{k}, T = 1" for k in (1, 2, 4, 8)]
    known = [found(facts, "sample", variant).original for variant in variants]
    assert known == sorted(known)  # one among two is at least as likely to leak as one
    assert known[-1] == 1.0
