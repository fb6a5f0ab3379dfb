"""Every estimator against an oracle that forms the gradient of each sample by autograd."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers.pytorch_utils import Conv1D

from expunge.errors import InputError
from expunge.importance import estimators, factored, measure_importance
from expunge.importance.estimator import Layer, per_sample_gradients
from expunge.importance.relative import EPSILON
from expunge.importance.vila import STANDARD_DEVIATION
from expunge.models.linear import target_layers
from tiny_models import FAMILIES, SHAPES, random_batch, random_model, split_batch

RANK, SEED = 3, 5


def per_sample_gradients_by_autograd(model, batch) -> dict[str, torch.Tensor]:
    """{layer: (n, d_out, d_in) float64}, one full backward pass a sample, through full logits."""
    layers = target_layers(model)
    model.requires_grad_(True)
    found: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for row in split_batch(batch, 1):
        model.zero_grad()
        logits = model(input_ids=row["input_ids"], attention_mask=row["attention_mask"]).logits
        log_likelihood = -cross_entropy(
            logits[0, :-1], row["labels"][0, 1:], reduction="sum", ignore_index=-100
        )
        log_likelihood.backward()
        for name, module in layers.items():
            gradient = module.weight.grad.double()
            found[name].append(gradient.T if isinstance(module, Conv1D) else gradient)
    model.zero_grad()
    return {name: torch.stack(gradients) for name, gradients in found.items()}


def fila_map(g: torch.Tensor, name: str) -> torch.Tensor:
    return g.square().mean(0)


def vila_map(g: torch.Tensor, name: str) -> torch.Tensor:
    layer = Layer(name, g.shape[1], g.shape[2], RANK, SEED)
    A = layer.gaussian("A", RANK, layer.d_in, std=STANDARD_DEVIATION).double()
    B = layer.gaussian("B", layer.d_out, RANK, std=STANDARD_DEVIATION).double()
    return (g @ A.T).var(0, correction=0) @ (B.T @ g).var(0, correction=0)


def factored_map(g: torch.Tensor, name: str) -> torch.Tensor:
    variance = g.var(0, correction=0)
    return torch.outer(variance.sum(1), variance.sum(0)) / variance.sum()


def lora_fisher_map(g: torch.Tensor, name: str) -> torch.Tensor:
    layer = Layer(name, g.shape[1], g.shape[2], RANK, SEED)
    A = layer.gaussian("A", RANK, layer.d_in, std=STANDARD_DEVIATION).double()
    B = layer.gaussian("B", layer.d_out, RANK, std=STANDARD_DEVIATION).double()
    return (g @ A.T).square().mean(0) @ (B.T @ g).square().mean(0)


MAPS = {
    "fila": fila_map,
    "variance": lambda g, name: g.var(0, correction=0),
    "lora_fisher": lora_fisher_map,
    "vila": vila_map,
    "expectation": lambda g, name: g.mean(0).abs(),
    "absolute": lambda g, name: g.abs().mean(0),
    "factored": factored_map,
}


def expected(estimator: str, model, forget, retain) -> dict[str, torch.Tensor]:
    of_forget = per_sample_gradients_by_autograd(model, forget)
    of_retain = per_sample_gradients_by_autograd(model, retain) if retain else {}
    rows = {}
    for name, gradients in of_forget.items():
        relative = MAPS[estimator](gradients, name)
        if retain:
            divisor = MAPS[estimator](of_retain[name], name)
            relative = relative / (divisor + EPSILON * divisor.flatten().median())
        rows[name] = relative.sum(1).sqrt()
    return rows


def measured(estimator: str, model, forget, retain, size: int = 7) -> dict[str, torch.Tensor]:
    return measure_importance(
        model,
        split_batch(forget, size),
        split_batch(retain, size) if retain else None,
        estimator=estimator,
        rank=RANK,
        seed=SEED,
    )


def test_every_estimator_has_an_oracle() -> None:
    assert MAPS.keys() == estimators.keys()


@pytest.mark.parametrize(
    ("estimator", "shape"),
    [
        *itertools.product(MAPS, SHAPES),
        *(("factored", family) for family in FAMILIES if family not in SHAPES),
    ],
)
def test_row_importances_are_those_of_the_oracle(estimator: str, shape: str) -> None:
    model, forget, retain = random_model(shape), random_batch(32), random_batch(20, seed=3)
    wanted = expected(estimator, model, forget, retain)
    found = measured(estimator, model, forget, retain)
    assert found.keys() == wanted.keys()
    for name, row in found.items():
        torch.testing.assert_close(row.double(), wanted[name], rtol=2e-3, atol=0)


@pytest.mark.parametrize("estimator", MAPS)
@pytest.mark.parametrize("size", [1, 7, 32])
def test_the_batch_size_does_not_matter(estimator: str, size: int) -> None:
    model, forget, retain = random_model(), random_batch(32), random_batch(32, seed=3)
    # E[g] of a retain entry may be near 0, and fp32 has few digits of a quotient by it: each set by itself then.
    compared = [(forget, None), (retain, None)] if estimator == "expectation" else [(forget, retain)]
    for sets in compared:
        one, other = (measured(estimator, model, *sets, size=each) for each in (13, size))
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=0)


@pytest.mark.parametrize("estimator", MAPS)
def test_without_a_retain_set_the_importance_is_that_of_the_forget_set(estimator: str) -> None:
    model, forget = random_model(), random_batch(16)
    wanted = expected(estimator, model, forget, None)
    for name, row in measured(estimator, model, forget, None).items():
        torch.testing.assert_close(row.double(), wanted[name], rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    ("estimator", "official"), [*((name, False) for name in MAPS), ("fila", True), ("vila", True)]
)
def test_a_row_without_labels_is_no_sample(estimator: str, official: bool) -> None:
    """Neither beside others nor in a batch of its own."""
    model, forget = random_model(), random_batch(8)
    empty = {**forget, "labels": torch.full_like(forget["labels"], -100)}
    together = {key: torch.cat([forget[key], empty[key][:3]]) for key in forget}
    options = {"estimator": estimator, "official": official, "rank": RANK, "seed": SEED}
    wanted = measure_importance(model, [forget], **options)
    found = measure_importance(model, [together, empty], **options)
    for name, row in found.items():
        torch.testing.assert_close(row, wanted[name], rtol=1e-5, atol=0)


def test_a_batch_mean_would_have_given_something_else() -> None:
    """The public code squares the gradient of the batch mean: about 1/4 of E[g²] at batch 4."""
    model, forget = random_model(), random_batch(32)
    g = per_sample_gradients_by_autograd(model, forget)["model.layers.0.mlp.up_proj"]
    of_means = g.reshape(8, 4, *g.shape[1:]).mean(1).square().mean(0).sum()
    assert of_means / g.square().mean(0).sum() < 0.5
    found = measured("fila", model, forget, None)["model.layers.0.mlp.up_proj"]
    torch.testing.assert_close(found.square().sum().double(), g.square().mean(0).sum(), rtol=1e-3, atol=0)


def test_the_model_is_left_as_it_was() -> None:
    model = random_model().train()
    model.lm_head.weight.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    measured("factored", model, random_batch(4), None)
    assert model.training
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == wanted
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_backward_pass_ends_at_the_first_layer_that_is_measured() -> None:
    model, reached = random_model(), {}
    for number, block in enumerate(model.model.layers):
        block.register_forward_hook(
            lambda _m, _i, output, n=number: reached.update({n: output.requires_grad})
        )
    found = measure_importance(
        model, [random_batch(8)], estimator="fila", targets=["model.layers.1.mlp.down_proj"]
    )
    assert reached == {0: False, 1: True}
    whole = measure_importance(model, [random_batch(8)], estimator="fila")
    torch.testing.assert_close(found, {name: whole[name] for name in found})


def test_layers_that_read_one_input_see_one_tensor(monkeypatch) -> None:
    """Query, key and value of a block share what is computed of their input, also where it is cast to fp32."""
    model = random_model().to(torch.bfloat16)
    seen: dict[str, int] = {}

    class Watching(estimators["fila"]):
        def sums(self, x, delta):
            assert x.dtype == delta.dtype == torch.float32
            seen[self.layer.name] = id(x)
            kept.append(x)
            return super().sums(x, delta)

    kept: list[torch.Tensor] = []
    monkeypatch.setitem(estimators._things, "watching", Watching)
    measure_importance(model, [random_batch(4)], estimator="watching")
    block = "model.layers.1."
    attention = [seen[f"{block}self_attn.{name}_proj"] for name in "qkv"]
    assert len(set(attention)) == 1
    assert seen[f"{block}mlp.gate_proj"] == seen[f"{block}mlp.up_proj"] != attention[0]
    assert len(set(seen.values())) == 4 * 2  # four inputs in each of two blocks


def test_hooks_are_removed_after_an_error() -> None:
    model = random_model()
    broken = random_batch(2)
    del broken["attention_mask"]
    with pytest.raises(KeyError):
        measure_importance(model, [broken])
    assert not any(module._forward_hooks for module in model.modules())


def test_an_empty_forget_set_and_an_unknown_estimator_are_refused() -> None:
    with pytest.raises(InputError, match="forget set is empty"):
        measure_importance(random_model(), [])
    with pytest.raises(InputError, match="Did you mean 'factored'"):
        measure_importance(random_model(), [random_batch(2)], estimator="factred")


@pytest.mark.parametrize("estimator", ["vila", "variance", "factored"])
def test_a_single_sample_has_no_variance(estimator: str) -> None:
    with pytest.raises(InputError, match="With a single sample use 'fila'"):
        measure_importance(random_model(), [random_batch(1)], estimator=estimator)
    assert all(
        row.any() for row in measure_importance(random_model(), [random_batch(1)], estimator="fila").values()
    )


class TestFactored:
    """Both ways to the margins, and the sketch of the mean."""

    x = torch.randn(6, 11, 40, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    delta = torch.randn(6, 11, 30, dtype=torch.float32, generator=torch.Generator().manual_seed(1)) + 0.3

    def test_gram_and_direct_rows_agree(self) -> None:
        estimator = factored.Factored(Layer("layer", 30, 40), torch.device("cpu"))
        torch.testing.assert_close(
            estimator._gram_rows(self.x, self.delta),
            estimator._direct_rows(self.x, self.delta),
            rtol=1e-4,
            atol=0,
        )

    @pytest.mark.parametrize("length", [3, 300])
    def test_a_large_layer_is_sketched(self, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Gram for short samples, direct for long ones: in both the sums are those of g, up to the sketches' noise."""
        monkeypatch.setattr(factored, "EXACT_MEAN_NUMBERS", 0)
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(50, length, 60, generator=generator) + 0.1
        delta = torch.randn(50, length, 80, generator=generator) + 0.1
        estimator = factored.Factored(Layer("layer", 80, 60), torch.device("cpu"))
        sums = estimator.sums(x, delta)
        assert set(sums) == {"rows", "mean_rows"}
        g = next(per_sample_gradients(x, delta))
        torch.testing.assert_close(sums["rows"], g.square().sum((0, 2)), rtol=1e-4, atol=0)
        mean = g.sum(0)
        torch.testing.assert_close(sums["mean_rows"], (mean @ estimator.of_inputs).T, rtol=1e-3, atol=1e-2)
        rows = estimator.rows(sums, 50, slice(None))
        variance = g.square().mean(0) - g.mean(0).square()
        torch.testing.assert_close(rows.sum(), variance.sum(), rtol=0.05, atol=0)
        assert rows.shape == (80, 60)
        assert torch.equal(rows, rows[:, :1].expand(-1, 60))

    @pytest.mark.parametrize("shape", ["llama", "gpt2"])
    def test_sketches_hardly_move_the_row_importances(
        self, shape: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The columns are a common factor of all rows but for ε: leaving them out cancels when d is normalised."""
        model, forget, retain = random_model(shape), random_batch(32), random_batch(20, seed=3)
        exact = measured("factored", model, forget, retain)
        monkeypatch.setattr(factored, "EXACT_MEAN_NUMBERS", 0)
        for name, row in measured("factored", model, forget, retain).items():
            found, wanted = (d / d.square().mean().sqrt() for d in (row, exact[name]))
            torch.testing.assert_close(found, wanted, rtol=0.1, atol=0)
            assert (found / wanted - 1).abs().mean() < 0.02

    @pytest.mark.parametrize(("samples", "width"), [(None, 16), (200, 16), (37, 16), (11, 200), (2, 20_000)])
    def test_the_sketch_is_wider_for_few_samples(self, samples: int | None, width: int) -> None:
        """√(2/k) / (n − 1) ≤ 1 %."""
        assert factored.sketch_width(samples) == width

    @pytest.mark.parametrize("count", [2, 3, 6])
    def test_of_few_samples_the_mean_is_kept_exactly_or_nearly(
        self, count: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """E[g]² is a large part of so few: a sketch of 16 columns made d a matter of the seed."""
        model, forget, retain = random_model(), random_batch(count), random_batch(20, seed=3)
        exact = measured("factored", model, forget, retain)
        monkeypatch.setattr(factored, "EXACT_MEAN_NUMBERS", 0)
        for name, row in measured("factored", model, forget, retain).items():
            torch.testing.assert_close(row, exact[name], rtol=1e-4, atol=1e-6)

    def test_what_is_shared_belongs_to_one_input_and_one_seed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(factored, "EXACT_MEAN_NUMBERS", 0)
        monkeypatch.setattr(factored, "SKETCH", 4)
        for seed in (0, 1):
            estimator = factored.Factored(Layer("layer", 30, 40, seed=seed), torch.device("cpu"))
            for x in (self.x, 2 * self.x):
                found = estimator.sums(x, self.delta)
                alone = estimator.sums(x.clone(), self.delta)
                for name, value in found.items():
                    torch.testing.assert_close(value, alone[name], rtol=1e-6, atol=0)

    def test_the_sketch_of_the_mean_is_unbiased(self) -> None:
        """Over many seeds the squared row norms of E[g]Ω average to those of E[g]."""
        mean = (self.delta.transpose(1, 2) @ self.x).mean(0)
        norms = []
        for seed in range(400):
            sketch = Layer("layer", 30, 40, seed=seed).gaussian("inputs", 40, 32, std=32**-0.5)
            norms.append((mean @ sketch).square().sum(1))
        torch.testing.assert_close(torch.stack(norms).mean(0), mean.square().sum(1), rtol=0.06, atol=0)


def test_the_projections_are_those_of_the_layer_and_the_seed() -> None:
    drawn = Layer("a", 4, 5, seed=1).gaussian("A", 3, 5)
    assert torch.equal(drawn, Layer("a", 4, 5, seed=1).gaussian("A", 3, 5))
    for other in (Layer("b", 4, 5, seed=1), Layer("a", 4, 5, seed=2)):
        assert not torch.equal(drawn, other.gaussian("A", 3, 5))
    assert not torch.equal(drawn, Layer("a", 4, 5, seed=1).gaussian("B", 3, 5))


def test_every_estimator_says_where_it_comes_from() -> None:
    for estimator in estimators.values():
        assert estimator.formula
        assert estimator.paper
        assert estimator.storage
