"""Losses: values derived by hand, gradients against the formulas of the papers. `test_formulas` has them all."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.models.answers import AnswerTokens
from expunge.objectives import Objective, Outputs, StepTotals, Term, Weight, forget_losses, retain_losses


def tokens(logits: torch.Tensor, targets: list[int], sequence: list[int] | None = None) -> AnswerTokens:
    rows = torch.tensor(sequence or [0] * len(targets), dtype=torch.long)
    count = int(rows.max()) + 1 if len(rows) else 0
    return AnswerTokens(logits, torch.tensor(targets, dtype=torch.long), rows, count)


def value(name: str, found: AnswerTokens, original: AnswerTokens | None = None, **more) -> torch.Tensor:
    """`more`: further outputs, and hyper-parameters."""
    registry = forget_losses if name in forget_losses else retain_losses
    settings = {key: more.pop(key) for key in list(more) if key in registry[name].hyperparameters}
    return registry[name].compute(Outputs(found, original, **more), **settings)


#: p = (0.5, 0.25, 0.25) and p = (0.1, 0.2, 0.7)
KNOWN = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])) + 3.0


def test_gradient_ascent_by_hand() -> None:
    found = value("ga", tokens(KNOWN, [0, 2]))
    torch.testing.assert_close(found, torch.tensor([math.log(0.5), math.log(0.7)]))
    torch.testing.assert_close(value("nll", tokens(KNOWN, [0, 2])), -found)


def test_inverted_hinge_by_hand() -> None:
    """1 + 0.5 − 0.25 where the true token leads, 1 + 0.1 − 0.7 where it does not."""
    torch.testing.assert_close(value("ihl", tokens(KNOWN, [0, 0])), torch.tensor([1.25, 0.4]))


def test_negative_preference_by_hand() -> None:
    """NLL(x) = −log 0.5 − log 0.7; NLL_ref = −log 0.25 − log 0.2; summed over the sequence."""
    reference = tokens(KNOWN.flip(1), [0, 1])
    gain = (-math.log(0.5) - math.log(0.7)) - (-math.log(0.25) - math.log(0.2))
    wanted = -(2 / 0.1) * math.log(1 / (1 + math.exp(-0.1 * gain)))
    found = value("npo", tokens(KNOWN, [0, 2]), reference)
    assert found.tolist() == pytest.approx([wanted], rel=1e-5)


def test_negative_preference_at_step_0_is_two_log_two_over_beta() -> None:
    same = tokens(torch.randn(5, 7), [1, 2, 3, 4, 5], [0, 0, 1, 1, 1])
    torch.testing.assert_close(value("npo", same, same), torch.full((2,), 20 * math.log(2)))


def ihl_gradient(logits: torch.Tensor, target: int) -> torch.Tensor:
    """LoKU, appendix A, as written in the specification."""
    p = torch.softmax(logits, 0)
    others = p.clone()
    others[target] = -1
    best = int(others.argmax())
    gradient = p * (p[best] - p[target])
    gradient[target] = p[target] * (p[best] - p[target] + 1)
    gradient[best] = p[best] * (p[best] - p[target] - 1)
    return gradient


@given(st.lists(st.integers(-80, 80), min_size=3, max_size=9, unique=True), st.integers(0, 8))
def test_the_gradient_of_the_inverted_hinge_is_the_papers(tenths: list[int], target: int) -> None:
    logits = [tenth / 10 for tenth in tenths]
    target %= len(logits)
    y = torch.tensor([logits], dtype=torch.float32, requires_grad=True)
    value("ihl", tokens(y, [target])).sum().backward()
    torch.testing.assert_close(
        y.grad[0].double(), ihl_gradient(torch.tensor(logits).double(), target), atol=2e-6, rtol=1e-4
    )


def test_the_gradient_of_negative_preference_is_a_faded_gradient_of_ascent() -> None:
    """∂/∂y = 2σ(−β·gain) · ∂(−NLL)... of the summed NLL: for gain 0 exactly that of gradient ascent."""
    base = torch.randn(4, 6)
    sequence, targets = [0, 0, 1, 1], [0, 1, 2, 3]
    ours = base.clone().requires_grad_(True)
    reference = tokens(torch.randn(4, 6), targets, sequence)
    found = tokens(ours, targets, sequence)
    value("npo", found, reference).sum().backward()
    ascent = base.clone().requires_grad_(True)
    value("ga", tokens(ascent, targets, sequence)).sum().backward()
    gain = found.sum_by_sequence(reference.log_probability - found.log_probability).detach()
    weight = 2 * torch.sigmoid(-0.1 * gain)
    torch.testing.assert_close(ours.grad, weight[torch.tensor(sequence)][:, None] * ascent.grad)


#: Every loss once: (registry, name).
EVERY = [(forget_losses, name) for name in forget_losses] + [(retain_losses, name) for name in retain_losses]


def full_outputs(logits: torch.Tensor, targets: list[int], rows: list[int], sequences: int = 0) -> Outputs:
    """All that any loss may ask for; what is not `logits` comes from a generator of its own."""
    generator = torch.Generator().manual_seed(9)
    count, vocabulary = logits.shape

    def other(y: torch.Tensor | None = None) -> AnswerTokens:
        hidden = torch.randn(count, 4, generator=generator)
        if y is None:
            y = torch.randn(count, vocabulary, generator=generator)
        index = torch.tensor(rows, dtype=torch.long)
        number = sequences or (int(index.max()) + 1 if count else 0)
        return AnswerTokens(
            y.to(logits.dtype),
            torch.tensor(targets, dtype=torch.long),
            index,
            number,
            hidden.to(logits.dtype),
        )

    return Outputs(other(logits), *(other() for _ in range(4)))


@pytest.mark.parametrize(("registry", "name"), EVERY)
def test_no_label_at_all_is_no_loss(registry, name: str) -> None:
    assert registry[name].compute(full_outputs(torch.zeros(0, 5), [], [])).sum() == 0


@pytest.mark.parametrize(("registry", "name"), EVERY)
def test_one_number_a_token_or_a_sequence(registry, name: str) -> None:
    loss = registry[name]
    found = loss.compute(full_outputs(torch.randn(6, 11), [0, 3, 9, 1, 1, 10], [0, 0, 1, 1, 1, 3]))
    assert found.shape == ((6,) if loss.unit == "token" else (4,))
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


def test_the_inverted_hinge_is_bounded_and_ascent_is_not() -> None:
    certain = torch.tensor([[60.0, 0, 0], [-60.0, 0, -60.0]])
    torch.testing.assert_close(value("ihl", tokens(certain, [0, 0])), torch.tensor([2.0, 0.0]))
    assert value("ga", tokens(certain, [1, 0]))[1] < -50


def test_a_row_without_labels_changes_nothing() -> None:
    totals = StepTotals(tokens=2, sequences=2)
    logits = torch.randn(2, 5)
    for name in forget_losses:
        objective = Objective.named(name)
        losses = [
            objective.share(objective.terms[0], full_outputs(logits, [0, 2], rows), totals)
            for rows in ([0, 1], [0, 2])
        ]
        assert float(losses[0]) == pytest.approx(float(losses[1]), abs=1e-6)
    assert tokens(KNOWN, [0, 2], [0, 2]).token_counts.tolist() == [1, 0, 1]


def test_an_objective_divides_by_the_whole_step() -> None:
    objective = Objective.named("ihl", "nll")
    of_forget, of_retain = StepTotals(tokens=8, sequences=4), StepTotals(tokens=5, sequences=4)
    forget, retain = objective.terms
    assert (forget.side, retain.side) == ("forget", "retain")
    assert float(objective.share(forget, Outputs(tokens(KNOWN, [0, 0])), of_forget)) == pytest.approx(
        1.65 / 8
    )
    assert float(objective.share(retain, Outputs(tokens(KNOWN, [0, 2])), of_retain)) == pytest.approx(
        -(math.log(0.5) + math.log(0.7)) / 5
    )
    npo = Objective.named("npo", "none")
    same = tokens(KNOWN, [0, 2], [0, 1])
    [alone] = npo.terms
    assert float(npo.share(alone, Outputs(same, same), of_forget)) == pytest.approx(2 * 20 * math.log(2) / 4)
    assert not npo.sees("retain")
    assert npo.needs("original")
    assert not objective.needs("original")
    assert Objective.named("ihl", "kl").needs("original")


def test_the_terms_say_which_examples_are_seen() -> None:
    """Learning is a loss of likelihood on the side that is learned: what an epoch walks through follows."""
    nll = retain_losses["nll"]
    learned, retrained = Objective([Term(nll)]), Objective([Term(nll, "retain")])
    assert (learned.walked, learned.sees("forget"), learned.sees("retain")) == ("forget", True, False)
    assert (retrained.walked, retrained.sees("forget"), retrained.sees("retain")) == ("retain", False, True)
    assert Objective.named("ihl", "nll").walked == "forget"
    refusals, preferences = Objective.named("idk", "nll"), Objective.named("dpo", "nll")
    assert (refusals.substitute, refusals.instead) == ("refusal", True)
    assert (preferences.substitute, preferences.instead) == ("refusal", False)
    assert learned.substitute is None
    assert Objective.named("rmu", "rmu", hyperparameters={"layer": 2}).last_block == 2
    assert Objective.named("rmu", "nll", hyperparameters={"layer": 2}).last_block is None


def test_an_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'ihl'"):
        Objective.named("ihll")


def test_hyperparameters_reach_the_loss() -> None:
    totals = StepTotals(2, 2)
    same = Outputs(tokens(KNOWN, [0, 2], [0, 1]), tokens(KNOWN, [0, 2], [0, 1]))
    objective = Objective.named("npo", hyperparameters={"beta": 0.5, "layer": 3})
    assert float(objective.share(objective.terms[0], same, totals)) == pytest.approx(2 / 0.5 * math.log(2))
    assert Objective.named("rmu", "rmu", hyperparameters={"layer": 3.0}).hidden_layer == 3
    assert Objective.named("ihl").hidden_layer is None


def test_weighted_ascent_by_hand() -> None:
    """p = 0.5 and 0.7: weights p^β; and p^β (1 − p)^β₂."""
    found = value("wga", tokens(KNOWN, [0, 2]), beta=2.0)
    torch.testing.assert_close(found, torch.tensor([0.25 * math.log(0.5), 0.49 * math.log(0.7)]))
    found = value("satimp", tokens(KNOWN, [0, 2]), beta=2.0, beta2=1.0)
    torch.testing.assert_close(found, torch.tensor([0.125 * math.log(0.5), 0.147 * math.log(0.7)]))


@pytest.mark.parametrize("name", ["wga", "satimp"])
def test_the_weights_of_weighted_ascent_have_no_gradient(name: str) -> None:
    y = torch.randn(3, 5).requires_grad_(True)
    value(name, tokens(y, [0, 1, 2])).sum().backward()
    p = torch.softmax(y.detach(), -1)[torch.arange(3), torch.arange(3)]
    weight = p if name == "wga" else p**5 * (1 - p)
    plain = y.detach().clone().requires_grad_(True)
    (weight * torch.log_softmax(plain, -1)[torch.arange(3), torch.arange(3)]).sum().backward()
    torch.testing.assert_close(y.grad, plain.grad)


def test_simple_negative_preference_by_hand() -> None:
    """NLL/len = −(log 0.5 + log 0.7)/2 over one sequence of two tokens."""
    mean = -(math.log(0.5) + math.log(0.7)) / 2
    wanted = (2 / 2.5) * math.log(1 + math.exp(-(2.5 * mean - 0.3)))
    found = value("simnpo", tokens(KNOWN, [0, 2]), beta=2.5, gamma=0.3)
    assert found.tolist() == pytest.approx([wanted], rel=1e-5)


@pytest.mark.parametrize("name", ["dpo", "altpo"])
def test_direct_preference_by_hand(name: str) -> None:
    """The answer lost log 2, the substitute gained log 3: β[log 3 + log 2] in the sigmoid."""
    half, quarter = (torch.log(torch.tensor([[p, 1 - p]])) for p in (0.5, 0.25))
    found = value(
        name,
        tokens(quarter, [0]),
        tokens(half, [0]),
        substitute=tokens(quarter, [1]),  # 0.75
        original_substitute=tokens(quarter, [0]),  # 0.25
        beta=0.2,
    )
    wanted = (2 / 0.2) * math.log(1 + math.exp(-0.2 * math.log(6)))
    assert found.tolist() == pytest.approx([wanted], rel=1e-5)


def test_losses_towards_a_distribution_by_hand() -> None:
    """Against −Σ q log p with every q written out."""
    own, original = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.2, 0.4, 0.4]])
    log_p = own.log()[0]

    def cross_entropy(q: list[float]) -> float:
        return -sum(weight * float(log_p[v]) for v, weight in enumerate(q) if weight)

    ours, theirs = tokens(own.log() + 1, [0]), tokens(original.log() - 2, [0])
    assert value("ceu", ours).tolist() == pytest.approx([cross_entropy([0, 0.5, 0.5])])
    lowered = 0.2 * math.exp(-1.5)
    q = [part / (lowered + 0.8) for part in (lowered, 0.4, 0.4)]
    assert value("undial", ours, theirs, beta=1.5).tolist() == pytest.approx([cross_entropy(q)])
    # The reinforced model says the true token louder by log 4 (unnormalised): α = 0.5 halves it twice over.
    reinforced = tokens(original.log() - 2 + torch.tensor([[math.log(4), -1.0, 0.0]]), [0])
    q = [part / 0.9 for part in (0.1, 0.4, 0.4)]
    assert value("whp", ours, theirs, reinforced=reinforced, alpha=0.5).tolist() == pytest.approx(
        [cross_entropy(q)]
    )
    divergence = sum(q * math.log(q / p) for q, p in zip((0.2, 0.4, 0.4), (0.5, 0.25, 0.25), strict=True))
    assert value("kl", ours, theirs).tolist() == pytest.approx([divergence], rel=1e-5)
    assert value("kl", ours, ours).tolist() == pytest.approx([0.0], abs=1e-6)


def test_keep_counts_a_true_token_that_has_become_less_likely_on_top_of_the_divergence() -> None:
    before, after = (0.2, 0.4, 0.4), (0.5, 0.25, 0.25)
    divergence = sum(q * math.log(q / p) for q, p in zip(before, after, strict=True))
    for target, lost in ((0, 0.0), (1, math.log(0.4 / 0.25))):  # 0.2 → 0.5 is no loss
        ours, theirs = (tokens(torch.tensor([row]).log(), [target]) for row in (after, before))
        assert value("keep", ours, theirs).tolist() == pytest.approx([divergence + lost], rel=1e-5)
        assert value("keep", theirs, theirs).tolist() == pytest.approx([0.0], abs=1e-6)


@pytest.mark.parametrize("name", ["ceu", "undial", "whp"])
def test_the_gradient_towards_a_distribution_is_p_minus_q(name: str) -> None:
    y = torch.randn(4, 6, dtype=torch.float64)
    outputs = full_outputs(y.requires_grad_(True), [0, 1, 2, 3], [0, 0, 1, 1])
    forget_losses[name].compute(outputs).sum().backward()
    hot = torch.nn.functional.one_hot(outputs.tokens.targets, 6).double()
    y_ref, y_more = outputs.original.logits, outputs.reinforced.logits
    q = {
        "ceu": torch.softmax(y.detach().masked_fill(hot.bool(), -torch.inf), -1),
        "undial": torch.softmax(y_ref - 10 * hot, -1),
        "whp": torch.softmax(y_ref - 5 * torch.relu(y_more - y_ref), -1),
    }[name]
    torch.testing.assert_close(y.grad, torch.softmax(y.detach(), -1) - q, atol=1e-5, rtol=1e-4)


def test_margin_flattening_by_hand() -> None:
    """Logits (3, 0, 0): max 3, mean 1; its gradient is 2 · 2 · (δ_max − 1/V)."""
    y = torch.tensor([[3.0, 0.0, 0.0]], requires_grad=True)
    found = value("pdu", tokens(y, [1]))
    assert found.tolist() == [4.0]
    found.sum().backward()
    torch.testing.assert_close(y.grad, 4 * torch.tensor([[2 / 3, -1 / 3, -1 / 3]]))


def test_misdirection_by_hand() -> None:
    def states(hidden: torch.Tensor) -> AnswerTokens:
        found = tokens(KNOWN[:1], [0])
        return AnswerTokens(found.logits, found.targets, found.sequence, 1, hidden)

    generator = torch.Generator().manual_seed(0)
    direction = torch.rand(4, generator=generator)
    there = 6.5 * direction / direction.norm()
    assert forget_losses["rmu"].compute(Outputs(states(there[None]))).tolist() == pytest.approx(
        [0.0], abs=1e-10
    )
    moved = there + torch.tensor([2.0, 0, 0, 0])
    assert forget_losses["rmu"].compute(Outputs(states(moved[None]))).tolist() == pytest.approx(
        [1.0], rel=1e-5
    )
    kept = retain_losses["rmu"].compute(Outputs(states(moved[None]), states(there[None])))
    assert kept.tolist() == pytest.approx([1.0], rel=1e-5)


def test_the_dual_variable_grows_while_the_constraint_is_broken() -> None:
    weight = Weight(1.0, bound=0.5, rate=2.0)
    weight.after_step(0.8)
    assert weight.value == pytest.approx(1.6)
    weight.after_step(0.0)
    assert weight.value == pytest.approx(0.6)
    weight.after_step(0.0)
    assert weight.value == 0.0
    fixed = Weight(1.5)
    fixed.before_step(0.5)
    fixed.after_step(100.0)
    assert fixed.value == 1.5


def test_a_weight_that_rises_goes_evenly_from_the_first_step_to_the_last() -> None:
    weight = Weight(1.0, rising=8.0)
    course = []
    for step in range(6):
        weight.before_step(step / 5)
        weight.after_step(3.0)
        course.append(weight.value)
    assert course == pytest.approx([1.0, 2.4, 3.8, 5.2, 6.6, 8.0])
