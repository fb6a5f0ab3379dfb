"""Attacks with ground truth: what they find in a model that was only masked, and that they find nothing elsewhere."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import nn

import expunge.run.attack as module
import tokenizer_families
from expunge.attacks.attack import Attack, Curve, Subject, Variant
from expunge.attacks.items import make_items
from expunge.attacks.leaks import Leak
from expunge.attacks.quantise import int4
from expunge.attacks.registry import attacks
from expunge.data.encoding import Encoder, collate
from expunge.data.samples import QuestionAnswer
from expunge.data.templates import choose_template
from expunge.errors import InputError
from expunge.folder.attacks import AttackFolder
from expunge.folder.state import AttackFacts
from expunge.models.half_precision import passing_in
from expunge.models.linear import linear_layers
from expunge.report.attack_bars import variant_rows
from expunge.report.attacks import lines
from expunge.run.attack import Target, of_budget, run_attacks

FORGET, RETAIN, HOLDOUT = range(12), range(12, 24), range(24, 44)
WORDS = ("oak", "elm", "ash", "fir", "yew", "bay", "fig", "box")


def _row(n: int) -> QuestionAnswer:
    """A question whose answer, five words drawn at random, nobody can guess."""
    return QuestionAnswer(f"Who is number {n}?", " ".join(Random(n).choices(WORDS, k=5)))


def _taught(start: Any, encoder: Encoder, numbers: Any, steps: int = 90) -> Any:
    model = copy.deepcopy(start).train()
    batch = collate([_row(n).encode(encoder)[0] for n in numbers], encoder.pad_token_id)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


class Models:
    """original knows what is to be forgotten and what is to be kept, reference the latter; both from one start."""

    def __init__(self) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        tokenizer = tokenizer_families.gpt2_like()
        self.encoder = Encoder(tokenizer, choose_template("auto", tokenizer), 512)
        torch.manual_seed(0)
        start = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0,
            )
        )  # fmt: skip
        self.original = _taught(start, self.encoder, [*FORGET, *RETAIN])
        self.reference = _taught(start, self.encoder, RETAIN)

    def target(self, after: Any, **more: Any) -> Target:
        forget, retain, holdout = (
            make_items([_row(n) for n in numbers], self.encoder, {}) for numbers in (FORGET, RETAIN, HOLDOUT)
        )
        known: dict[str, Any] = {
            "original": partial(copy.deepcopy, self.original),
            "after": partial(copy.deepcopy, after),
            "reference": partial(copy.deepcopy, self.reference),
            "reference_path": "r",
            "identity": {"test": 1},
            "encoder": self.encoder,
            "forget": forget,
            "retain": retain,
            "holdout": holdout,
        }
        return Target(**{**known, **more})


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


def shares(facts: AttackFacts, name: str) -> dict[str, float | None]:
    return {
        variant: made.recoveries[made.lead].share for variant, made in facts.outcomes[name].variants.items()
    }


def test_the_reference_itself_has_nothing_to_bring_back(models: Models, tmp_path: Path) -> None:
    """By every attack that counts, in every variant."""
    facts = run_attacks(models.target(models.reference), AttackFolder(tmp_path), "cheap")
    counting = {name: outcome for name, outcome in facts.outcomes.items() if outcome.counts}
    assert {name for name, outcome in counting.items() if not outcome.variants} == {"in_context"}
    assert {"membership", "relearn", "sample", "prefill", "cloze", "multiple_choice"} <= set(counting)
    for name, outcome in counting.items():
        for variant in outcome.variants.values():
            found = variant.recoveries[variant.lead]
            assert (found.low, found.share, found.high) == (0.0, 0.0, 0.0), name
    assert (
        facts.outcomes["scale"].unfit
        == facts.outcomes["remove"].unfit
        == "what was handed over is no adapter"
    )
    assert facts.missing == []


def test_of_a_model_that_never_knew_nothing_can_be_said(models: Models, tmp_path: Path) -> None:
    target = models.target(models.reference, original=partial(copy.deepcopy, models.reference))
    names = ["quantise", "merge", "membership", "sample", "relearn", "multiple_choice", "prefill"]
    facts = run_attacks(target, AttackFolder(tmp_path), "cheap", names)
    assert set(facts.outcomes) == set(names)
    for name, outcome in facts.outcomes.items():
        for variant in outcome.variants.values():
            found = variant.recoveries[variant.lead]
            assert found.share is None, name
            assert "knew no more of it" in (found.unresolved or ""), name
    told = [line for line in lines(facts) if line.startswith("Nothing can be said of ")]
    assert len(told) == 1
    assert all(name in told[0] for name in names)


def test_a_bias_against_the_answers_does_not_hide_them_from_membership_inference(
    models: Models, tmp_path: Path
) -> None:
    """The masked model gives the answers next to no probability, but what it saw it still likes better than what it did
    not see."""
    masked = copy.deepcopy(models.original)
    tokens = sorted({t for n in range(40) for t in _row(n).encode(models.encoder)[0].labels if t >= 0})
    head = nn.Linear(masked.lm_head.in_features, masked.lm_head.out_features, bias=True)
    head.weight = masked.lm_head.weight
    with torch.no_grad():
        head.bias.zero_()
        head.bias[tokens] = -12.0
    masked.lm_head = head
    facts = run_attacks(models.target(masked), AttackFolder(tmp_path), "cheap", ["quantise", "membership"])
    as_is = facts.outcomes["quantise"].variants["int8"].recoveries["probability"]
    assert as_is.left is not None
    assert as_is.left < 0.1  # asked plainly it seems forgotten
    found = facts.outcomes["membership"].variants["loss"].recoveries["auc"]
    assert found.low is not None
    assert found.low > 0.5


def test_rounding_brings_back_what_a_change_below_its_step_hides(models: Models, tmp_path: Path) -> None:
    """The original's weights lie on the levels of int4. A change of less than half a step makes it forget, and rounding
    takes the change away."""
    original = copy.deepcopy(models.original)
    room = {}
    with torch.no_grad():
        for name, layer in linear_layers(original).items():
            layer.weight.copy_(int4(layer.weight))
            room[name] = 0.03 * (layer.weight.amax(-1, keepdim=True) - layer.weight.amin(-1, keepdim=True))
    hidden = copy.deepcopy(original)
    batch = collate([_row(n).encode(models.encoder)[0] for n in FORGET], models.encoder.pad_token_id)
    levels = {name: layer.weight.detach().clone() for name, layer in linear_layers(original).items()}
    layers = linear_layers(hidden)
    for _ in range(25):
        hidden.zero_grad()
        (-hidden(**batch).loss.clamp(max=8)).backward()
        with torch.no_grad():
            for name, layer in layers.items():
                # Neither the greatest nor the least of a row moves: they set the step.
                level = levels[name]
                moves = (level < level.amax(-1, keepdim=True)) & (level > level.amin(-1, keepdim=True))
                step = room[name] / 8 * layer.weight.grad.sign() * moves
                layer.weight.copy_(torch.clamp(layer.weight - step, level - room[name], level + room[name]))
    target = models.target(hidden.eval(), original=partial(copy.deepcopy, original))
    facts = run_attacks(target, AttackFolder(tmp_path), "cheap", ["quantise"])
    found = facts.outcomes["quantise"].variants["int4"].recoveries["probability"]
    assert found.left is not None
    assert found.left < 0.3
    assert found.share == pytest.approx(1.0, abs=0.02)
    assert facts.missing == [name for name in of_budget("cheap") if name != "quantise"]


def test_where_passes_are_in_bf16_what_rounds_to_it_is_still_asked_in_fp32(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every pass rounded the weights, and what that brings back would have been there before the attack."""
    monkeypatch.setattr("expunge.models.half_precision.LEAST_PARAMETERS", 1)
    monkeypatch.setattr("expunge.models.half_precision.bf16_speedup", lambda width: 1.6)
    monkeypatch.setattr("expunge.models.half_precision.device", lambda: torch.device("cpu"))
    found = {}
    for precision in ("fp32", "auto"):
        folder = AttackFolder(tmp_path / precision)
        with passing_in(precision):  # type: ignore[arg-type]
            run_attacks(models.target(models.reference), folder, "cheap", ["merge", "prefix"])
        found[precision] = {
            name: json.loads((folder.path / f"{name}.json").read_text())["measured"]
            for name in ("unattacked", "merge", "prefix")
        }
    alike = [
        name
        for name in found["fp32"]
        if _without_seconds(found["fp32"][name]) == _without_seconds(found["auto"][name])
    ]
    assert alike == ["unattacked", "merge"]


def _without_seconds(measured: Any) -> Any:
    return {
        side: {name: {**one, "seconds": 0} for name, one in variants.items()}
        for side, variants in measured.items()
    }


def test_a_weak_adapter_is_seen_without_an_attack_and_taken_off(models: Models, tmp_path: Path) -> None:
    """An adapter that would lead all the way to the reference, at 0.3 of its strength."""
    before, there = linear_layers(models.original), linear_layers(models.reference)
    change, weak = {}, copy.deepcopy(models.original)
    for name, layer in linear_layers(weak).items():
        difference = 0.3 * (there[name].weight - before[name].weight).detach()
        change[name] = (torch.eye(difference.shape[1]), difference)
        layer.weight.data += difference
    facts = run_attacks(
        models.target(weak, change=change), AttackFolder(tmp_path), "cheap", ["scale", "remove"]
    )
    off = facts.outcomes["remove"].variants["off"].recoveries["probability"]
    assert off.left is not None
    assert off.left > 0.3
    assert off.attacked == pytest.approx(off.original, abs=1e-5)
    assert off.share == pytest.approx(1.0, abs=1e-3)
    scaled = facts.outcomes["scale"].variants["0.5 times"].recoveries["probability"]
    assert off.attacked >= scaled.attacked > scaled.after
    assert scaled.low is not None
    assert scaled.share is not None
    assert 0 < scaled.low < scaled.share <= 1


class Teach(Attack):
    title, paper, cost = "it is told the answers", "none", "none"

    def __init__(self, load: Callable[[], Any]):
        self.load = load

    def variants(self, subject: Subject) -> Iterator[Variant]:
        yield Variant("all", model=lambda: nullcontext(self.load()))
        yield Variant(
            "by steps", curve=lambda measure: Curve({0: measure(subject.model), 5: measure(self.load())}, 5)
        )
        yield Variant("half", rows=range(4), score=lambda model, items: [0.5] * len(items), measure="own")


@pytest.fixture
def teaching(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    class Taught(Teach):
        budget = "cheap"

        def __init__(self) -> None:
            super().__init__(partial(copy.deepcopy, models.original))

    monkeypatch.setattr(attacks, "_things", {**attacks._things, "teach": Taught})
    monkeypatch.setattr(module, "of_budget", lambda budget: {"teach": attacks["teach"]})
    monkeypatch.setattr(module, "check_names", lambda *given: None)


@pytest.mark.usefixtures("teaching")
def test_an_attack_that_teaches_is_caught(models: Models, tmp_path: Path) -> None:
    monkey = models.target(models.reference)
    facts = run_attacks(monkey, AttackFolder(tmp_path), "cheap")
    for name in ("all", "by steps"):
        variant = facts.outcomes["teach"].variants[name]
        assert "the attack teaches" in (variant.recoveries["probability"].unresolved or "")
    curve = facts.outcomes["teach"].variants["by steps"].curves["after"]
    assert list(curve) == [0, 5]
    assert curve[0] < 0.3 < curve[5]
    assert facts.outcomes["teach"].variants["half"].recoveries["own"].n == 4


def test_an_interrupted_attack_goes_on_and_says_the_same(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, names = models.target(models.reference), ["quantise", "compose"]
    whole = run_attacks(target, AttackFolder(tmp_path / "whole"), "cheap", names)
    asked: list[str] = []

    def counted(variant: Variant, *more: Any) -> Any:
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(variant.name)
        return attacked(variant, *more)

    attacked = module.attacked
    monkeypatch.setattr(module, "attacked", counted)
    with pytest.raises(KeyboardInterrupt):
        run_attacks(target, AttackFolder(tmp_path / "cut"), "cheap", names)
    monkeypatch.setattr(
        module, "attacked", lambda variant, *more: asked.append(variant.name) or attacked(variant, *more)
    )
    rest = run_attacks(target, AttackFolder(tmp_path / "cut"), "cheap", names)
    assert sorted(asked) == sorted(2 * ["int8", "int4", "nf4", "1% of the weights", "3% of the weights"])
    assert _without_times(rest) == _without_times(whole)
    # Other questions, or another model, are asked anew.
    asked.clear()
    run_attacks(replace(target, identity={"test": 2}), AttackFolder(tmp_path / "cut"), "cheap", names)
    assert len(asked) == 10
    assert (tmp_path / "cut" / "quantise.json").stat().st_mode & 0o077 == 0  # it scores single samples
    files = "".join(file.read_text() for file in (tmp_path / "cut").glob("*.json"))
    assert not any(f" {word}" in files for word in WORDS)


def test_another_threshold_of_a_leak_asks_the_sampling_anew_and_nothing_else(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two words of five a guess may have, and four hardly."""
    target, names = models.target(models.reference), ["merge", "sample"]
    first = run_attacks(target, AttackFolder(tmp_path), "cheap", names)
    asked: list[str] = []
    attacked = module.attacked
    monkeypatch.setattr(
        module, "attacked", lambda variant, *more: asked.append(variant.name) or attacked(variant, *more)
    )
    lax = run_attacks(replace(target, leak=Leak(0.4)), AttackFolder(tmp_path), "cheap", names)
    assert set(asked) == {f"leak@{k}, T = 1, recall ≥ 0.4" for k in (1, 2, 4, 8)}
    assert lax.outcomes["merge"] == first.outcomes["merge"]
    strict = first.outcomes["sample"].variants["leak@8, T = 1"].recoveries["leak@8"]
    found = lax.outcomes["sample"].variants["leak@8, T = 1, recall ≥ 0.4"].recoveries["leak@8"]
    assert 0.5 < strict.original < found.original
    assert strict.attacked < 0.1 < 0.5 < found.attacked


def test_where_the_data_name_keywords_a_leak_is_told_by_them(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three questions ask for a word that no answer has, three for the answer as a whole; six have no keywords."""
    folder, names, variant = AttackFolder(tmp_path), ["merge", "sample"], "leak@8, T = 1"
    target = models.target(models.reference)

    def leaks() -> list[float]:
        record = json.loads(folder.file("sample").read_text())
        return record["measured"]["original"][variant]["attacked"]["leak@8"]

    by_recall = run_attacks(target, folder, "cheap", names)
    assert by_recall.outcomes["sample"].variants[variant].facts == {}
    assert all("keywords" not in line for line in lines(by_recall))
    recalled = leaks()
    asked: list[str] = []
    attacked = module.attacked
    monkeypatch.setattr(
        module, "attacked", lambda variant, *more: asked.append(variant.name) or attacked(variant, *more)
    )
    keywords = [("SECRET",)] * 3 + [("SECRET", _row(n).answer) for n in range(3, 6)] + [()] * 6
    named = [replace(item, keywords=each) for item, each in zip(target.forget, keywords, strict=True)]
    found = run_attacks(replace(target, forget=named), folder, "cheap", names)
    assert set(asked) == {f"leak@{k}, T = 1" for k in (1, 2, 4, 8)}  # and the merging is not made again
    assert found.outcomes["sample"].variants[variant].facts == {"by keywords": 6}
    assert min(sum(recalled[:3]), sum(recalled[3:6])) > 0  # the original knows the answers
    assert leaks()[:3] == [0.0] * 3
    assert sum(leaks()[3:6]) > 0
    assert leaks()[6:] == recalled[6:]
    told = "\n".join(lines(found))
    assert re.search(r"by keywords: 6 of 12; leak@\d ", told)
    (row,) = (row for row in variant_rows(found) if row.variant == variant)
    assert row.note.startswith("leak@8; by keywords: 6 of 12")
    written = "".join(file.read_text() for file in tmp_path.glob("*.json")) + found.model_dump_json() + told
    assert "SECRET" not in written
    asked.clear()
    assert run_attacks(replace(target, forget=named), folder, "cheap", names) == found
    other = [replace(item, keywords=("SECRET",)) for item in target.forget]
    run_attacks(replace(target, forget=other), folder, "cheap", names)
    assert set(asked) == {f"leak@{k}, T = 1" for k in (1, 2, 4, 8)}
    assert max(leaks()) == 0.0


def _without_times(facts: AttackFacts) -> Any:
    content = facts.model_dump(mode="json")
    for outcome in content["outcomes"].values():
        del outcome["seconds"]
    return content


def test_without_a_reference_the_holdout_stands_in(models: Models, tmp_path: Path) -> None:
    target = models.target(models.reference, reference=None, reference_path=None)
    facts = run_attacks(target, AttackFolder(tmp_path), "cheap", ["merge"])
    found = facts.outcomes["merge"].variants["bf16"].recoveries["probability"]
    assert (facts.ground, found.upper_bound) == ("holdout", True)
    assert found.share is not None
    nothing = run_attacks(replace(target, holdout=()), AttackFolder(tmp_path), "cheap", ["merge"])
    assert nothing.ground == "none"
    assert nothing.outcomes["merge"].variants["bf16"].recoveries["probability"].share is None


def test_of_a_holdout_that_stands_in_as_many_are_asked_as_of_the_forget_set(
    models: Models, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "LEAST_STANDING_IN", 3)
    target = models.target(models.reference, reference=None, reference_path=None)
    assert len(target.holdout) == 20
    for forget, stand_ins in ((2, 3), (4, 4)):
        folder = AttackFolder(tmp_path / str(forget))
        run_attacks(replace(target, forget=target.forget[:forget]), folder, "cheap", ["merge"])
        measured = json.loads(folder.file("merge").read_text())["measured"]
        asked = {
            side: len(one["bf16"]["attacked"]["probability"])
            for side, one in measured.items()
            if side != "original"
        }
        assert asked == {"after": forget, "reference": stand_ins}


def test_a_budget_asks_a_part_that_the_seed_draws(models: Models, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "CHEAP_ITEMS", 3)
    facts = run_attacks(models.target(models.reference), AttackFolder(tmp_path), "cheap", ["merge"])
    assert (facts.items, facts.of) == (3, 12)


def test_names_of_no_attack_are_refused(models: Models, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no attack 'quantize'.*quantise"):
        run_attacks(models.target(models.reference), AttackFolder(tmp_path), "cheap", ["quantize"])


def test_an_attack_that_gives_no_value_is_said_and_ends_nothing(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a holdout is too small for it, or no answer can be scored."""

    class Mute(Attack):
        title, paper, cost = "it asks what has no answer", "none", "none"

        def variants(self, subject: Subject) -> Iterator[Variant]:
            yield Variant("nothing", measure="own", score=lambda _, items: [float("nan")] * len(items))
            if subject.role == "after" and subject.forget[0].sample == _row(0):
                yield Variant("alone", measure="own", score=lambda _, items: [1.0] * len(items))

    monkeypatch.setitem(vars(attacks)["_things"], "mute", Mute)
    facts = run_attacks(models.target(models.reference), AttackFolder(tmp_path), "cheap", ["mute", "merge"])
    assert facts.outcomes["mute"].variants == {}
    assert facts.outcomes["mute"].unfit == "there is no item that every model was asked and gave a value for"
    assert facts.outcomes["merge"].variants
