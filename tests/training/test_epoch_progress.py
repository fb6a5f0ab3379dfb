"""How far an epoch is shows while it is trained: lines elsewhere, a bar on a terminal that no error leaves behind."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from expunge import progress
from expunge.data.encoding import Example
from expunge.objectives import Objective, Term, retain_losses
from expunge.training.settings import Training
from expunge.training.train import build_trainer
from tiny_models import random_model

#: An epoch is two steps, of two micro-batches and of one.
SAMPLES = [Example([1, 2, 3, 4 + n], [-100, 2, 3, 4 + n]) for n in range(9)]


def train(folder: Path, *callbacks: TrainerCallback) -> None:
    build_trainer(
        random_model(),
        SAMPLES,
        [],
        objective=Objective([Term(retain_losses["nll"])]),
        training=Training(epochs=2, batch_size=6, micro_batch_size=3, learning_rate=1e-3),
        seed=0,
        pad_token_id=0,
        checkpoints=folder,
        callbacks=list(callbacks),
        save=False,
    ).train()


class Evaluation(TrainerCallback):
    """Shows its own progress at the end of an epoch, as evaluations do; or stops in the middle of a step."""

    def __init__(self, interrupt: bool = False) -> None:
        self.interrupt = interrupt

    def on_epoch_end(self, *arguments: Any, **kwargs: Any) -> None:
        list(progress.track(range(2), "  evaluating"))

    def on_substep_end(self, *arguments: Any, **kwargs: Any) -> None:
        if self.interrupt:
            raise KeyboardInterrupt


def test_lines_count_the_micro_batches_of_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)  # a line for each
    train(tmp_path, Evaluation())
    lines = capsys.readouterr().err.splitlines()
    evaluated = [f"  evaluating: {done} of 2" for done in range(2)]
    assert lines == [
        line
        for epoch in (1, 2)
        for line in (*(f"  epoch {epoch}/2: {done} of 3" for done in range(3)), *evaluated)
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_bar_on_a_terminal_is_gone_when_training_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt: bool
) -> None:
    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", shown)
    error: BaseException | None = None
    try:
        train(tmp_path, Evaluation(interrupt))
    except KeyboardInterrupt as caught:
        error = caught  # holds the trainer, as it does while the error is told
    text = shown.getvalue()
    assert (error is not None) is interrupt
    assert "epoch 1/2" in text
    assert ("epoch 2/2" in text) is not interrupt
    hidden, back = "\x1b[?25l", "\x1b[?25h"  # the cursor
    assert text.count(hidden) == text.count(back) > 0
