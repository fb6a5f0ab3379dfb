"""What the attacks change: weights by the formula, logits by the formula, scores whose mean is the AUC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from expunge.attacks import membership
from expunge.attacks.attack import Subject
from expunge.attacks.compose import SIZES, Compose
from expunge.attacks.guide import Guide, Guided
from expunge.attacks.items import drawn, make_items
from expunge.attacks.membership import shares_below
from expunge.attacks.merge import Merge
from expunge.attacks.quantise import int4, nf4
from expunge.attacks.quantised_base import QuantisedBase
from expunge.attacks.scale import STRENGTHS, Scale
from expunge.benchmarks.tofu.benchmark import TofuBenchmark
from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer, Text
from expunge.errors import InputError
from expunge.evaluation.gradient_norm import gradient_norms
from expunge.evaluation.likelihood import answer_losses
from expunge.evaluation.membership import auc
from expunge.folder.attacks import AttackFolder, AttackRecord
from expunge.models.linear import linear_layers
from tiny_models import SHAPES, random_model
from tofu_files import tofu_rows, write_tofu


def subject(model: Any, **more: Any) -> Subject:
    return Subject(model, encoder=None, forget=(), **more)  # type: ignore[arg-type]


def changed(model: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A random change of every layer, and the weights with it, each (d_out, d_in); the model gets it."""
    generator = torch.Generator().manual_seed(1)
    change, with_it = {}, {}
    for name, layer in linear_layers(model).items():
        A = torch.randn(2, layer.weight.shape[1], generator=generator) / 10
        B = torch.randn(layer.weight.shape[0], 2, generator=generator) / 10
        layer.weight.data += B @ A
        change[name], with_it[name] = (A, B), layer.weight.detach().clone()
    return change, with_it


def test_the_adapter_at_another_strength() -> None:
    model = SHAPES["llama"]()
    change, with_it = changed(model)
    variants = list(Scale().variants(subject(model, change=change)))
    assert [variant.name for variant in variants] == ["0.3 times", "0.5 times", "1.5 times", "2 times"]
    for variant, strength in zip(variants, STRENGTHS, strict=True):
        assert variant.model is not None
        with variant.model() as attacked:
            for name, layer in linear_layers(attacked).items():
                A, B = change[name]
                wanted = with_it[name] - B @ A + strength * (B @ A)
                assert torch.allclose(layer.weight, wanted, atol=1e-6), name


def test_an_adapter_merged_into_a_rounded_base_is_rounded_again() -> None:
    model = SHAPES["llama"]()
    change, with_it = changed(model)
    (one,) = QuantisedBase().variants(subject(model, change=change))
    assert one.model is not None
    with one.model():
        for name, layer in linear_layers(model).items():
            A, B = change[name]
            base = int4(with_it[name] - B @ A)
            assert torch.equal(layer.weight, int4(base + B @ A)), name
    assert list(QuantisedBase().variants(subject(model))) == []
    whole, half = QuantisedBase().variants(subject(model, change=change, budget="full"))
    assert (whole.name, half.name) == ("int4", "nf4")  # that of QLoRA's bases
    assert half.model is not None
    with half.model():
        for name, layer in linear_layers(model).items():
            A, B = change[name]
            assert torch.equal(layer.weight, nf4(nf4(with_it[name] - B @ A) + B @ A)), name
    # The reference has no adapter, and is rounded as a whole.
    (one,) = QuantisedBase().variants(subject(model, role="reference"))
    assert one.model is not None
    with one.model():
        assert all(
            torch.equal(layer.weight, int4(with_it[name])) for name, layer in linear_layers(model).items()
        )


def test_merging_rounds_to_16_bits() -> None:
    model = SHAPES["llama"]()
    (variant,) = Merge().variants(subject(model))
    wanted = {name: layer.weight.bfloat16().float() for name, layer in linear_layers(model).items()}
    assert variant.model is not None
    with variant.model():
        assert all(torch.equal(layer.weight, wanted[name]) for name, layer in linear_layers(model).items())


def test_another_adapter_is_as_large_as_it_says_and_the_same_for_every_model() -> None:
    first, second = SHAPES["llama"](), SHAPES["llama"]()
    second.load_state_dict(first.state_dict())
    for size, *variants in zip(
        SIZES, *(Compose().variants(subject(m)) for m in (first, second)), strict=True
    ):
        before = {name: layer.weight.detach().clone() for name, layer in linear_layers(first).items()}
        with variants[0].model(), variants[1].model():  # type: ignore[misc]
            for name, layer in linear_layers(first).items():
                difference = layer.weight.detach() - before[name]
                assert float(difference.norm() / before[name].norm()) == pytest.approx(size, rel=1e-4)
                assert torch.linalg.matrix_rank(difference) == 8
                assert torch.equal(layer.weight, linear_layers(second)[name].weight)


def test_both_models_are_weighed_by_the_formula() -> None:
    after, before = SHAPES["llama"]().eval(), SHAPES["llama"]().eval()
    ids = torch.tensor([[5, 7, 9]])
    u, f = after(ids).logits, before(ids).logits
    for weight, wanted in ((1.0, f), (2.0, 2 * f - u), (-1.0, -f), (-2.0, -u - 2 * f)):
        assert torch.allclose(Guided(after, before, weight)(ids).logits, wanted, atol=1e-5), weight
    assert Guide().unfit(subject(after)) is not None
    loaded: list[int] = []
    variants = Guide().variants(subject(after, original=lambda: loaded.append(1) or before))
    for variant in variants:
        assert variant.model is not None
        with variant.model() as guided:
            guided(ids)
    assert loaded == [1]  # once for all weights
    asked = subject(after, original=lambda: before)
    assert [variant.rows for variant in Guide().variants(asked)] == [None] * 4  # all questions


def test_the_reference_is_read_once_for_all_models(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its own score is 0 for every item: it is compared with itself."""
    models = [random_model(scale=scale) for scale in (3.0, 5.0, 8.0)]
    items = make_items([QuestionAnswer("Who?", word) for word in ("Ada", "Bo Cy", "Di")], encoder, {})
    read: list[Any] = []

    def counted(model: Any, *more: Any, **options: Any) -> Any:
        read.append(model)
        return answer_losses(model, *more, **options)

    monkeypatch.setattr(membership, "answer_losses", counted)
    attack, scores = membership.Membership(), {}
    for role, model in zip(("after", "reference", "original"), models, strict=True):
        asked = Subject(model, encoder, items[:2], holdout=items[2:], role=role, reference=lambda: models[1])
        scores[role] = membership.Membership._scores(attack, asked)[0]
    assert [models.index(model) for model in read] == [0, 1, 1, 2]
    assert [row["reference"] for row in scores["reference"]] == [0.0, 0.0]
    wanted = [
        theirs.average_loss - own.average_loss
        for own, theirs in zip(
            *(answer_losses(model, [item.example for item in items[:2]], 0) for model in models[:2]),
            strict=True,
        )
    ]
    assert [row["reference"] for row in scores["after"]] == pytest.approx(wanted, abs=1e-5)


def test_the_full_budget_asks_for_gradients_whose_smallness_tells_a_member(encoder: Encoder) -> None:
    model = random_model()
    items = make_items([QuestionAnswer("Who?", word) for word in ("Ada", "Bo Cy", "Di")], encoder, {})
    examples = [item.example for item in items]
    asked = Subject(model, encoder, items[:2], holdout=items[2:], role="after", budget="full")
    members, others = membership.Membership()._scores(asked)
    norms = gradient_norms(model, examples, encoder.pad_token_id)
    assert [row["gradient_norm"] for row in (*members, *others)] == pytest.approx([-norm for norm in norms])
    assert all(norm > 0 for norm in norms)
    cheap = Subject(model, encoder, items[:2], holdout=items[2:] * 20, role="after")
    names = [variant.name for variant in membership.Membership().variants(asked)]
    assert set(names) - {variant.name for variant in membership.Membership().variants(cheap)} == {
        "gradient_norm"
    }


def test_the_mean_of_the_shares_is_the_auc() -> None:
    members, others = [0.1, 0.5, 0.5, 0.9], [0.5, 0.2, 0.0]
    shares = shares_below(members, others)
    assert shares == pytest.approx([1 / 3, 5 / 6, 5 / 6, 1.0])
    assert sum(shares) / 4 == pytest.approx(auc(members, others).value)


def test_items_know_their_questions_other_forms(tmp_path: Path, encoder: Encoder) -> None:
    rows = tofu_rows()
    plain_hash = TofuBenchmark(write_tofu(tmp_path, rows), "forget01").data["hash"]
    for row in rows["forget01_perturbed.json"]:
        row["paraphrased_question"] = f"again {row['question']}"
    benchmark = TofuBenchmark(write_tofu(tmp_path, rows), "forget01")
    assert benchmark.data["hash"] == plain_hash  # logs of before the attacks name the data by it
    wordings = benchmark.wordings()
    asked = [QuestionAnswer(question.question, question.answer) for question in benchmark.sets["forget"]]
    items = make_items(asked, encoder, wordings)
    for item, question in zip(items, benchmark.sets["forget"], strict=True):
        assert item.wrong == question.perturbed
        assert item.rewordings == (f"again {question.question}",)
        assert item.truth == question.answer
        assert item.prompt == encoder.prompt(question.question)


def test_a_long_text_is_several_items_of_one_group(encoder: Encoder) -> None:
    items = make_items([Text(" ".join(f"w{3 + n % 60}" for n in range(100))), Text("w5 w6 w7")], encoder, {})
    assert len(items) > 2
    assert [item.group for item in items] == [0] * (len(items) - 1) + [1]
    assert {item.prompt for item in items} == {None}


def test_a_part_is_drawn_by_the_seed_in_its_order(encoder: Encoder) -> None:
    items = make_items([QuestionAnswer(f"w{n}", "w9") for n in range(3, 33)], encoder, {})
    part = drawn(items, 7, seed=1)
    assert [item.group for item in part] == sorted(item.group for item in part)
    assert part == drawn(items, 7, seed=1) != drawn(items, 7, seed=2)
    assert drawn(items, None, seed=1) == items


def test_a_record_is_read_as_it_was_written_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    folder = AttackFolder(tmp_path)
    record = AttackRecord(
        basis="b", measured={"after": {"int4": {"attacked": {"probability": [0.5, None]}}}}, over=["after"]
    )
    folder.write("quantise", record)
    assert folder.read("quantise", "b") == record
    assert folder.read("quantise", "other").measured == {}  # it rests on something else
    (tmp_path / "quantise.json").write_text('{"schema": "expunge.attack/1", "basis": "b", "over": 3}')
    with pytest.raises(InputError, match="over"):
        folder.read("quantise", "b")
