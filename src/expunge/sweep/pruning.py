"""A trial is left when the others were ahead of it at the same epoch."""

from __future__ import annotations

from typing import Any

from optuna import Trial
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..folder.run import RunFolder
from .choice import Scores, worth

#: Attribute of a trial that was left: after which epoch.
LEFT = "left after epoch"


class MedianPruning(TrainerCallback):
    """Reports every epoch to the study, and ends the training where optuna's median pruner says so.

    scores: of the trial's run, by the questions that trials are compared by
    """

    def __init__(self, trial: Trial, folder: RunFolder, scores: Scores):
        self.trial = trial
        self.folder = folder
        self.scores = scores

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        assert metrics is not None
        epoch = round(state.epoch or 0)
        log, before = (
            self.scores.inputs.benchmark.read_log(self.folder.evaluation(name))
            for name in (f"epoch-{epoch}", "before")
        )
        value = worth(self.scores.choosing(log, before), metrics["utility"], metrics["qualifies"])
        known = self.trial.study.get_trials(deepcopy=False)[self.trial.number].intermediate_values
        if epoch not in known:  # a run that a kill interrupted measures its last epoch again
            self.trial.report(value, epoch)
        if epoch >= args.num_train_epochs:
            return
        if LEFT in self.trial.user_attrs or self.trial.should_prune():
            self.trial.set_user_attr(LEFT, epoch)
            control.should_training_stop = True
