"""`expunge.losses`: registered losses as functions of logits and labels."""

from __future__ import annotations

import math

import pytest
import torch

import expunge
from expunge import InputError, losses
from expunge.models.answers import answer_tokens
from expunge.objectives import Objective, Outputs, StepTotals, Term, forget_losses, retain_losses
from tiny_models import random_batch, random_model

VOCABULARY, LENGTH, WIDTH = 7, 6, 4


def logits(seed: int, rows: int = 3) -> torch.Tensor:
    return torch.randn(rows, LENGTH, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 2


#: Three rows: a prompt of two tokens, padding at the end of the second, and a row where nothing is predicted.
LABELS = torch.tensor([[-100, -100, 1, 2, 3, 0], [-100, -100, 4, 6, -100, -100], [-100] * LENGTH])


def test_the_inverted_hinge_is_the_literal_loop() -> None:
    """1 + p(x_t) − max_{v≠x_t} p(v) at every label, in float64, one place at a time; the mean over the six labels."""
    y = logits(1)
    values = []
    for row, labels in enumerate(LABELS.tolist()):
        for place, label in enumerate(labels):
            if label == -100:
                continue
            scores = [math.exp(score) for score in y[row, place - 1].tolist()]
            p = [score / sum(scores) for score in scores]
            values.append(1 + p[label] - max(q for v, q in enumerate(p) if v != label))
    assert len(values) == 6
    found = losses.ihl(y, LABELS)
    assert found.shape == ()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(sum(values) / 6, rel=1e-6)


def test_a_loss_of_sequences_is_the_mean_over_those_that_have_labels() -> None:
    """NPO by its formula, (2/β)·log(1 + exp(β·(log p − log p_ref))), over two of the three rows."""
    y, reference = logits(1), logits(2)
    gains = []
    for row in (0, 1):
        both = [torch.log_softmax(each[row].double(), -1) for each in (y, reference)]
        gains.append(
            sum(
                (both[0][place - 1, label] - both[1][place - 1, label]).item()
                for place, label in enumerate(LABELS[row].tolist())
                if label != -100
            )
        )
    wanted = sum(2 / 0.3 * math.log1p(math.exp(0.3 * gain)) for gain in gains) / 2
    assert losses.npo(y, LABELS, reference_logits=reference, beta=0.3).item() == pytest.approx(
        wanted, rel=1e-5
    )


def test_the_first_label_and_the_last_logits_take_no_part() -> None:
    y, labels = logits(1), LABELS.clone()
    before = losses.nll(y, labels)
    labels[:, 0] = 5
    y[:, -1] = 1e4
    torch.testing.assert_close(losses.nll(y, labels), before)


def test_where_nothing_is_predicted_the_loss_is_zero_and_has_a_gradient() -> None:
    y = logits(1).requires_grad_(True)
    found = losses.ihl(y, torch.full((3, LENGTH), -100))
    found.backward()
    assert found.item() == 0
    assert torch.equal(y.grad, torch.zeros_like(y))


EVERY = [("forget", name) for name in forget_losses] + [("retain", name) for name in retain_losses]


@pytest.mark.parametrize(("side", "name"), EVERY)
def test_every_loss_is_the_trainers(side: str, name: str) -> None:
    """Of a whole model's logits and hidden states the same as of its answer tokens, which the trainer takes."""
    registered = {"forget": forget_losses, "retain": retain_losses}[side][name]
    model, other = random_model("llama"), random_model("llama", scale=4.0)
    batch, beside = random_batch(4), random_batch(4, length=7, seed=5)
    layer = {"layer": 0} if "hidden" in registered.needs else {}
    states = 0 if layer else None
    with torch.no_grad():
        ours, theirs, ours_beside, theirs_beside = (
            each(
                input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], output_hidden_states=True
            )
            for each, rows in ((model, batch), (other, batch), (model, beside), (other, beside))
        )
        wanted = Objective([term := Term(registered)], layer).share(
            term,
            Outputs(
                *(answer_tokens(each, batch, states) for each in (model, other, other)),
                *(answer_tokens(each, beside) for each in (model, other)),
            ),
            StepTotals(float((batch["labels"][:, 1:] != -100).sum()), 4),
        )
    found = getattr(losses, side)(name)(
        ours.logits,
        batch["labels"],
        reference_logits=theirs.logits,
        reinforced_logits=theirs.logits,
        substitute_logits=ours_beside.logits,
        substitute_labels=beside["labels"],
        reference_substitute_logits=theirs_beside.logits,
        hidden=ours.hidden_states[1],
        reference_hidden=theirs.hidden_states[1],
        **layer,
    )  # fmt: skip
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_names_lead_to_the_registries() -> None:
    assert losses.ihl.loss is forget_losses["ihl"]
    assert losses.kl.loss is retain_losses["kl"]
    assert losses.rmu.loss is forget_losses["rmu"]
    assert losses.retain("rmu").loss is retain_losses["rmu"]
    assert expunge.losses is losses
    assert {"ihl", "npo", "nll", "kl"} <= set(dir(losses))
    with pytest.raises(AttributeError, match="there is no loss 'ilh'"):
        _ = losses.ilh
    with pytest.raises(InputError, match="Did you mean 'ihl'"):
        losses.forget("ilh")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: losses.npo(logits(1), LABELS), "losses.npo: it needs reference_logits."),
        (lambda: losses.dpo(logits(1), LABELS), "losses.dpo: it needs substitute_labels."),
        (lambda: losses.ihl(logits(1)[:, 1:], LABELS), "logits is of shape (3, 5, 7), but labels is of (3, 6)."),
        (lambda: losses.ihl(logits(1)[0], LABELS), "logits is of shape (6, 7). Give logits as (batch, length, V)."),
        (
            lambda: losses.dpo(logits(1), LABELS, reference_logits=logits(2), substitute_logits=logits(3, 2),
                               substitute_labels=LABELS[:2], reference_substitute_logits=logits(4, 2)),
            "substitute_labels has 2 rows, and labels 3.",
        ),
        (lambda: losses.npo(logits(1), LABELS, reference_logits=logits(2), bta=1.0), "Did you mean 'beta'?"),
        (lambda: losses.npo(logits(1), LABELS, reference_logits=logits(2), beta=-1.0), "npo, beta: the value -1.0"),
        (lambda: losses.ihl(logits(1), LABELS, beta=1.0), "It has none: leave it out."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(call, said: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert said in str(caught.value)
