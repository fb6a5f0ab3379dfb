"""Finetuning makes known what it is trained on, takes the steps of a loop by hand, and resumes exactly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from expunge.data.encoding import Example
from expunge.data.pairs import PairedDataset, PairSampler
from expunge.errors import RunFailed
from expunge.evaluation.likelihood import answer_losses
from expunge.models.answers import IGNORED
from expunge.training import finetune as module
from expunge.training.finetune import finetune
from expunge.training.settings import Training
from expunge.training.train import saved_steps
from tiny_models import VOCABULARY, random_model


def question(number: int) -> Example:
    """A prompt of four tokens and an answer of three to seven, drawn by number."""
    draw = torch.Generator().manual_seed(number)
    prompt, answer = (
        torch.randint(1, VOCABULARY, (n,), generator=draw).tolist() for n in (4, 3 + number % 5)
    )
    return Example(prompt + answer, [IGNORED] * 4 + answer)


KNOWN, LEFT_OUT = [question(n) for n in range(9)], [question(n) for n in range(100, 105)]


def train(model: Any, folder: Path, examples: list[Example] = KNOWN, **settings: Any) -> list[dict[str, Any]]:
    training = Training(**{"epochs": 2, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 3e-3, "warmup": 0,
                           "weight_decay": 0.0, "schedule": "constant", "max_grad_norm": 0.0, **settings})  # fmt: skip
    return finetune(model, examples, training=training, seed=5, pad_token_id=0, checkpoints=folder)


def probabilities(model: Any, examples: list[Example]) -> list[float]:
    return [loss.probability for loss in answer_losses(model, examples, 0)]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def test_what_it_is_trained_on_becomes_known_and_nothing_else(tmp_path: Path) -> None:
    model = random_model(scale=1.0)
    assert max(probabilities(model, [*KNOWN, *LEFT_OUT])) < 0.05
    train(model, tmp_path, epochs=30, learning_rate=4e-2, schedule="linear", batch_size=9, micro_batch_size=9)
    assert min(probabilities(model, KNOWN)) > 0.9
    assert max(probabilities(model, LEFT_OUT)) < 0.05


def steps_by_hand(model: Any, epochs: int, batch_size: int, learning_rate: float) -> list[float]:
    """The oracle: one example at a time, each step's loss a mean over all its label tokens."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    order = PairSampler(PairedDataset(KNOWN, []), batch_size, seed=5)
    losses = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        rows = [KNOWN[index] for index, _ in order]
        for start in range(0, len(rows), batch_size):
            step = rows[start : start + batch_size]
            tokens = sum(label != IGNORED for example in step for label in example.labels)
            loss = torch.zeros(())
            for example in step:
                log_p = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
                for place, label in enumerate(example.labels):
                    if label != IGNORED:
                        loss = loss - log_p[place - 1, label] / tokens
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("micro", [4, 2, 1])
def test_every_step_is_that_of_a_loop_by_hand(tmp_path: Path, micro: int) -> None:
    model, other = random_model(), random_model()
    steps = train(model, tmp_path, micro_batch_size=micro)
    expected = steps_by_hand(other, epochs=2, batch_size=4, learning_rate=3e-3)
    assert [step["loss"] for step in steps] == pytest.approx(expected, rel=1e-4)
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    for name, weight in weights(model).items():
        torch.testing.assert_close(weight, weights(other)[name], rtol=1e-3, atol=1e-4)


def test_it_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the third epoch of four; dropout, so that the random numbers matter as well."""
    dropout = {"shape": "gpt2"}
    whole, cut, again = (random_model(**dropout) for _ in range(3))
    assert whole.config.resid_pdrop > 0
    full = train(whole, tmp_path / "whole", epochs=4, schedule="linear")
    with monkeypatch.context() as patch:
        patch.setattr(module._Course, "on_step_end", _stop_at_step(8), raising=False)
        with pytest.raises(KeyboardInterrupt):
            train(cut, tmp_path / "cut", epochs=4, schedule="linear")
    assert list(saved_steps(tmp_path / "cut")) == [6]  # of two epochs; the first one's is gone
    resumed = train(again, tmp_path / "cut", epochs=4, schedule="linear")
    assert resumed == full
    assert all(torch.equal(weights(whole)[name], weight) for name, weight in weights(again).items())
    # Once it is done there is nothing left to train.
    last = random_model(**dropout)
    assert train(last, tmp_path / "cut", epochs=4, schedule="linear") == full
    assert all(torch.equal(weights(whole)[name], weight) for name, weight in weights(last).items())


def _stop_at_step(number: int) -> Any:
    def stop(self, args, state, control, **kwargs):
        if state.global_step == number:
            raise KeyboardInterrupt

    return stop


def test_of_an_adapted_model_only_the_adapter_is_trained(tmp_path: Path) -> None:
    model = get_peft_model(
        random_model(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    start = weights(model)
    train(model, tmp_path, epochs=1)
    changed = {name for name, weight in weights(model).items() if not torch.equal(weight, start[name])}
    assert changed
    assert all(".lora_" in name for name in changed)


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    model = random_model()
    model.model.norm.weight.data.fill_(math.inf)
    with pytest.raises(RunFailed, match=r"The loss became nan at step 1\. Lower training\.learning_rate"):
        train(model, tmp_path)
    assert saved_steps(tmp_path) == {}
