"""`answer_losses` against one full-logits forward per example, and extraction strength by hand."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedConfig

from expunge.data.encoding import Example
from expunge.evaluation.likelihood import AnswerLoss, answer_losses
from expunge.models.answers import IGNORED


def random_examples(count: int, vocabulary: int) -> list[Example]:
    """Different lengths, answers that begin anywhere, a gap in every third, and one without labels."""
    generator = random.Random(0)
    examples = []
    for number in range(count):
        ids = [generator.randrange(vocabulary) for _ in range(generator.randint(3, 20))]
        start = generator.randrange(len(ids) - 1)
        labels = [IGNORED] * start + ids[start:]
        if number % 3 == 0:
            labels[-2] = IGNORED
        examples.append(Example(ids, labels))
    return [*examples, Example([1, 2, 3], [IGNORED] * 3)]


def one_by_one(model: torch.nn.Module, example: Example) -> AnswerLoss:
    """Full logits, token by token, no batch and no padding."""
    with torch.no_grad():
        logits = model(torch.tensor([example.input_ids])).logits[0]
    loss, hits = 0.0, []
    for place in range(1, len(example)):
        if example.labels[place] != IGNORED:
            scores = logits[place - 1].double()
            loss -= torch.log_softmax(scores, dim=-1)[example.labels[place]].item()
            hits.append(int(scores.argmax()) == example.labels[place])
    shortest = next(k for k in range(len(hits) + 1) if all(hits[k:]))
    strength = 1 - shortest / len(hits) if hits else 0.0
    return AnswerLoss(loss, len(hits), sum(hits), strength)


def confident(model: torch.nn.Module, examples: list[Example]) -> list[Example]:
    """Put the model's own first choices into some answers, so that hits occur."""
    changed = []
    for number, example in enumerate(examples):
        ids, labels = list(example.input_ids), list(example.labels)
        for place in range(2 + number % 4, len(ids)):
            with torch.no_grad():
                ids[place] = int(model(torch.tensor([ids[:place]])).logits[0, -1].argmax())
            if labels[place] != IGNORED:
                labels[place] = ids[place]
        changed.append(Example(ids, labels))
    return changed


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 100_000])
def test_equals_the_slow_oracle_in_any_batch(tiny_llama, tokens_per_batch):
    examples = random_examples(14, tiny_llama.config.vocab_size)
    examples += confident(tiny_llama, examples[:8])
    expected = [one_by_one(tiny_llama, example) for example in examples]
    assert {0.0, 1.0} < {loss.strength for loss in expected}, "the examples cover too little"
    found = answer_losses(tiny_llama, examples, pad_token_id=0, tokens_per_batch=tokens_per_batch)
    for ours, slow in zip(found, expected, strict=True):
        assert ours.loss == pytest.approx(slow.loss, rel=1e-5, abs=1e-5)
        assert (ours.tokens, ours.correct) == (slow.tokens, slow.correct)
        assert ours.strength == pytest.approx(slow.strength)


class CountsUp(torch.nn.Module):
    """Expects after token v the token v + 1, with a logit of 2 against 0 for the other nine."""

    config = PreTrainedConfig()  # says nothing of a window

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, input_ids, attention_mask, logits_to_keep, use_cache):
        logits = self.scale * torch.nn.functional.one_hot((input_ids + 1) % 10, 10).float()
        return SimpleNamespace(logits=logits[logits_to_keep])


@pytest.mark.parametrize(
    ("answer", "correct", "strength"),
    [
        ([2, 3, 4, 5], 4, 1.0),  # verbatim: k = 0
        ([7, 7, 7, 7], 0, 0.0),  # nothing
        ([2, 6, 7, 8], 3, 0.5),  # 6 is wrong, all after it right: k = 2 of 4
        ([6, 7, 8, 9], 3, 0.75),  # only the first is wrong: k = 1
        ([2, 3, 4, 9], 3, 0.0),  # the last is wrong: k = 4
    ],
)
def test_extraction_strength_and_loss_by_hand(answer, correct, strength):
    example = Example([1, *answer], [IGNORED, *answer])
    other = Example([3, 4], [IGNORED, 4])  # a second row: places are counted within a row
    found, _ = answer_losses(CountsUp(), [example, other], pad_token_id=0)
    assert (found.tokens, found.correct, found.strength) == (4, correct, strength)
    # −log p is log(e² + 9) − 2 for a hit and log(e² + 9) for a miss.
    loss = 4 * math.log(math.exp(2) + 9) - 2 * correct
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert found.average_loss == pytest.approx(loss / 4)
    assert found.probability == pytest.approx(math.exp(-loss / 4))


def test_modes_and_gradients_are_left_as_they_were(tiny_llama):
    tiny_llama.train()
    tiny_llama.model.layers[0].eval()
    before = [module.training for module in tiny_llama.modules()]
    answer_losses(tiny_llama, random_examples(2, 60), pad_token_id=0)
    assert [module.training for module in tiny_llama.modules()] == before
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_no_examples(tiny_llama):
    assert answer_losses(tiny_llama, [], pad_token_id=0) == []
