"""VILA's theorem 1 by Monte Carlo, and the table of its proof's terms.

    python experiments/papers/theorem.py --shared ../shared --write docs/results/theorem-1.json
    python experiments/papers/theorem.py --page docs/results/theorem-1.json     # theorem-1.md beside it, from it alone

The theorem: B and A are drawn from zero-mean Gaussians, W's update is their product, and
Var(ΔW_ij) ≈ Σ_k Var(B_ik) Var(A_kj). Three questions:

product      For independent entries of mean 0 that is exact. How far off are samples of it?
projections  `vila` puts the gradients of B and A in the theorem's place. Over draws of A and B, is
             E[Var(gAᵀ)_ik · Var(Bᵀg)_kj] = r σ⁴ · Σ_j Var(g_ij) · Σ_i Var(g_ij), which `factored` computes outright?
gradients    Those of one sample are neither independent nor of mean 0. How far is Σ_k Var(gB_ik) Var(gA_kj) from the
             variance of the product Σ_k gB_ik gA_kj that the theorem speaks of, and from Var(g_ij), the aim?

The terms: with B = B₀ + gB and A = A₀ + gA the variance of BA has four, each of B and A once as it is drawn and once
as the gradient. The paper's table has four rows whose names are not in the text at hand; its first figure is the same
for both sets, as that of the drawn B₀A₀ is, and the last is by far the largest, as the theorem's is. What its figures
are of (a norm, a mean, one layer) is not said; here it is the mean over all entries of all layers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from expunge.adapters.loading import load_model
from expunge.data.encoding import Example, collate
from expunge.importance.vila import STANDARD_DEVIATION as SIGMA
from expunge.models.linear import target_layers
from expunge.recipe import load_recipe
from expunge.run.inputs import Inputs

RANK = 8


def product_of_draws(draws: int, generator: torch.Generator, shape: tuple[int, int] = (24, 32)) -> float:
    """The mean relative error of the variance of Σ_k B_ik A_kj over so many draws, against Σ_k Var(B_ik) Var(A_kj)."""
    rows, columns = shape
    of_B = torch.randn(rows, RANK, generator=generator, dtype=torch.float64).exp()
    of_A = torch.randn(RANK, columns, generator=generator, dtype=torch.float64).exp()
    B = torch.randn(draws, rows, RANK, generator=generator, dtype=torch.float64) * of_B.sqrt()
    A = torch.randn(draws, RANK, columns, generator=generator, dtype=torch.float64) * of_A.sqrt()
    stated = of_B @ of_A
    return float((((B @ A).var(0) - stated).abs() / stated).mean())


def variance_map(g: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """Var[g Aᵀ] · Var[Bᵀ g] over the samples of g (n, d_out, d_in), (d_out, d_in)."""
    return (g @ A.T).var(0, correction=0) @ (B.T @ g).var(0, correction=0)


def projections(g: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """The mean of `variance_map` over draws of A and B, divided by r σ⁴."""
    d_out, d_in = g.shape[1:]
    total = torch.zeros(d_out, d_in, dtype=g.dtype)
    for _ in range(draws):
        A, B = _drawn((RANK, d_in), generator), _drawn((d_out, RANK), generator)
        total += variance_map(g, A, B)
    return total / draws / (RANK * SIGMA**4)


def outright(g: Tensor) -> Tensor:
    """Σ_j Var(g_ij) · Σ_i Var(g_ij), (d_out, d_in): what `factored` computes, but for the division by their sum."""
    variance = g.var(0, correction=0)
    return torch.outer(variance.sum(1), variance.sum(0))


def of_gradients(g: Tensor, generator: torch.Generator) -> dict[str, float]:
    """The theorem with one sample's gradients in it: Σ_k Var(gB_ik) Var(gA_kj), set against two variances.

    share: the median of its ratio to the variance of Σ_k gB_ik gA_kj; the others are Spearman's rank correlations of
    row sums, with that variance and with Var(g_ij).
    """
    d_out, d_in = g.shape[1:]
    A, B = _drawn((RANK, d_in), generator), _drawn((d_out, RANK), generator)
    stated = variance_map(g, A, B)
    true = ((g @ A.T) @ (B.T @ g)).var(0, correction=0)
    rows = [each.sum(1) for each in (stated, true, g.var(0, correction=0))]
    return {
        "share": float((stated / true).median()),
        "rows_of_product": float(spearmanr(rows[0], rows[1]).statistic),
        "rows_of_weights": float(spearmanr(rows[0], rows[2]).statistic),
    }


def terms(g: Tensor, generator: torch.Generator) -> list[float]:
    """The four terms of the variance of (B₀ + gB)(A₀ + gA), each the mean over the entries of a layer."""
    d_out, d_in = g.shape[1:]
    A, B = _drawn((RANK, d_in), generator), _drawn((d_out, RANK), generator)
    of_B, of_A = (g @ A.T).var(0, correction=0), (B.T @ g).var(0, correction=0)
    drawn_B, drawn_A = torch.full_like(of_B, SIGMA**2), torch.full_like(of_A, SIGMA**2)
    pairs = ((drawn_B, drawn_A), (drawn_B, of_A), (of_B, drawn_A), (of_B, of_A))
    return [float((left @ right).mean()) for left, right in pairs]


def _drawn(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    return SIGMA * torch.randn(shape, generator=generator, dtype=torch.float64)


def sample_gradients(model: Any, examples: list[Example], padding: int, layers: list[str]) -> list[Tensor]:
    """For each layer g_n = ∂ Σ_t log p(x_t) / ∂W of every sample, (n, d_out, d_in) fp64, one sample a pass."""
    weights = [model.get_submodule(name).weight for name in layers]
    model.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    found: list[list[Tensor]] = [[] for _ in layers]
    for example in examples:
        batch = collate([example], padding)
        loss = model(**batch).loss * example.label_count  # the sum over the label tokens
        for each, gradient in zip(found, torch.autograd.grad(-loss, weights), strict=True):
            each.append(gradient.double())
    return [torch.stack(each) for each in found]


def measure(shared: Path, samples: int) -> dict[str, Any]:
    recipe = load_recipe(
        {
            "model": {"path": str(shared / "models" / "tofu-tiny" / "full")},
            "data": {"format": "tofu", "path": str(shared / "data" / "tofu"), "forget": "forget01"},
        }
    )
    inputs = Inputs(recipe)
    model = load_model(recipe.model)
    names = list(target_layers(model, recipe.adapter.targets, 1.0))
    layers = [name for name in names if ".layers.0." in name or f".layers.{_last(names)}." in name]
    generator = torch.Generator().manual_seed(0)
    sides = {"forget": inputs.forget[:samples], "retain": inputs.retain[:samples]}
    gradients = {
        side: sample_gradients(model, examples, inputs.encoder.pad_token_id, layers)
        for side, examples in sides.items()
    }
    forget = gradients["forget"]
    counts = (1, 4, 16, 64, 256)
    errors = {
        str(draws): sum(_error(projections(g, draws, generator), outright(g)) for g in forget) / len(forget)
        for draws in counts
    }
    found = [of_gradients(g, generator) for g in forget]
    of_sets = {side: [terms(g, generator) for g in each] for side, each in gradients.items()}
    return {
        "model": "models/tofu-tiny/full",
        "forget": "forget01",
        "samples": {side: len(examples) for side, examples in sides.items()},
        "layers": layers,
        "rank": RANK,
        "sigma": SIGMA,
        "product": {str(draws): product_of_draws(draws, generator) for draws in (100, 1_000, 10_000)},
        "projections": errors,
        "gradients": {key: _range([each[key] for each in found]) for key in found[0]},
        "terms": {side: [sum(column) / len(column) for column in zip(*each, strict=True)]
                  for side, each in of_sets.items()},
    }  # fmt: skip


def _last(names: list[str]) -> int:
    return max(int(name.split(".layers.")[1].split(".")[0]) for name in names)


def _error(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖"""
    return float((found - wanted).norm() / wanted.norm())


def _range(values: list[float]) -> dict[str, float]:
    ordered = torch.tensor(values)
    return {"median": float(ordered.median()), "lowest": min(values), "highest": max(values)}


def page(figures: dict[str, Any]) -> str:
    """docs/results/theorem-1.md."""
    spread = {
        name: f"{each['median']:.2f} ({each['lowest']:.2f} to {each['highest']:.2f})"
        for name, each in figures["gradients"].items()
    }
    names = ("drawn B, drawn A: r σ⁴", "drawn B, gradient of A", "gradient of B, drawn A",
             "gradients of both: the theorem's")  # fmt: skip
    forget, retain = figures["terms"].values()
    n = figures["samples"]["forget"]
    lines = [
        "# VILA's theorem 1, by Monte Carlo",
        "",
        "B and A are drawn from zero-mean Gaussians and W's update is their product; the theorem says "
        "Var(ΔW_ij) ≈ Σ_k Var(B_ik) Var(A_kj).",
        "`vila` takes the gradients of B and A for B and A. Made by `python experiments/papers/theorem.py`, and this "
        "page from",
        "[theorem-1.json](theorem-1.json).",
        "",
        f"`{figures['model']}`, the first {n} samples of {figures['forget']} and of its retain set, one at a time in "
        "float64;",
        f"{len(figures['layers'])} layers (of the first and the last block), r = {figures['rank']}, "
        f"σ = {figures['sigma']}.",
        "",
        "## Independent entries of mean 0",
        "",
        "There it is exact: the variance of so many drawn products is off by what so many draws are off.",
        "",
        _row("draws", *figures["product"]),
        _row("---", *["---"] * len(figures["product"])),
        _row("mean relative error", *(f"{error:.1%}" for error in figures["product"].values())),
        "",
        "## `vila` and `factored`",
        "",
        "Over draws of A and B the mean of `vila`'s product goes to r σ⁴ · Σ_j Var(g_ij) · Σ_i Var(g_ij), which "
        "`factored` computes",
        "outright; both before the ratio of the two sets is formed. The error ‖mean − limit‖ ÷ ‖limit‖, mean over the "
        "layers:",
        "",
        _row("draws of A and B", *figures["projections"]),
        _row("---", *["---"] * len(figures["projections"])),
        _row("error", *(f"{error:.3f}" for error in figures["projections"].values())),
        "",
        "## The gradients of one sample in it",
        "",
        "They are neither independent nor of mean 0. Median over the layers (lowest to highest), one draw of A and B:",
        "",
        "| | |",
        "| --- | --- |",
        _row("Σ_k Var(gB_ik) Var(gA_kj) ÷ Var(Σ_k gB_ik gA_kj), the median entry", spread["share"]),
        _row("rank correlation of their row sums", spread["rows_of_product"]),
        _row("rank correlation of its row sums with those of Var(g_ij)", spread["rows_of_weights"]),
        "",
        f"So with real gradients the sum is {figures['gradients']['share']['median']:.0%} of the variance that the "
        "theorem speaks of. The importance",
        "is for ranking rows by the variance of the weights' own gradients, and that it does.",
        "",
        "## The terms of the proof",
        "",
        "With B = B₀ + gB and A = A₀ + gA the variance of BA has four terms. What the paper's four rows are called, "
        "and what its",
        "figures are of, is not in the text at hand; here they are means over all entries of the layers.",
        "",
        _row("term", "forget set", "retain set"),
        _row("---", "---", "---"),
        *(
            _row(name, f"{left:.3g}", f"{right:.3g}")
            for name, left, right in zip(names, forget, retain, strict=True)
        ),
        "",
        "In the paper the last is larger than the others by four orders of magnitude (688,128 against 40). Here, where "
        "the model",
        "knows its data and the gradients are small, what was drawn outweighs them. `vila` takes the last term alone.",
    ]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--samples", type=int, default=40, help="of each set, the first ones")
    parser.add_argument("--write", type=Path, default=Path("theorem-1.json"), help="file for the figures")
    parser.add_argument(
        "--page", type=Path, help="write the page beside this file of figures; nothing is measured"
    )
    given = parser.parse_args()
    file = given.page or given.write
    if given.page is None:
        figures = measure(given.shared, given.samples)
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(page(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
