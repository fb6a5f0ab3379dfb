"""The main job: recipe in, run folder out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..recipe import Recipe
from ..recipe.loading import naming_recipe
from ..trust import trusting
from .continual import run_requests
from .given import Given, Rows
from .result import Run
from .single import run_recipe

__all__ = ["Run", "unlearn"]


def unlearn(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    model: Any = None,
    tokenizer: Any = None,
    forget: Rows | None = None,
    retain: Rows | None = None,
    holdout: Rows | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    trust_remote_code: bool = False,
) -> Run:
    """Run a recipe: importance → adapter → training → evaluation → export → report.

    recipe:    a YAML file, its content, or a `Recipe`; where `data.forget` is a list, one request after another,
               and the result is a `ContinualRun`
    overrides: `key.sub=value`
    model, tokenizer:
               a causal LM of transformers in memory and its tokenizer, in place of the recipe's `model.path`. They are
               written to `base/` in the run folder, and the run works with that copy: the model itself stays as it is
    forget, retain, holdout:
               rows in memory, in place of the recipe's files: dicts as a line of a jsonl file would be (question and
               answer, messages, or text), a list of them or a `datasets.Dataset`. They are written to `data/` in the
               run folder, for its owner's eyes alone (mode 0600), so that the run can be repeated and resumed
    output:    run folder, in place of the recipe's
    resume:    go on with a run that was interrupted; finished phases are not repeated, and the weights become those
               of an uninterrupted run
    callbacks: of transformers' Trainer, added to the training; of several requests to each one's. After every epoch
               that is evaluated they get `on_evaluate(args, state, control, metrics={forget_score, utility, qualifies,
               and the value of every metric})`, utility None where nothing says what is left. Who sets
               `control.should_training_stop` there ends the training after this epoch. Of several processes each has
               its callbacks, which have to decide alike; the values of the metrics are with the first alone. Where the
               learning rate is looked for they are told of every trial, one training after another
    trust_remote_code: run Python code that comes with models and task files; a recipe alone gives no leave to

    Raises `InputError` for wrong input, before anything is written, and `RunFailed` where training diverged before
    its first epoch was over.
    """
    if isinstance(recipe, Recipe):
        recipe = recipe.given
    given = Given.checked(model, tokenizer, {"forget": forget, "retain": retain, "holdout": holdout})
    with naming_recipe(recipe), trusting(trust_remote_code):
        loaded = given.recipe(recipe, overrides, str(output) if output else None)
        kept = given.kept(loaded, resume)
        if isinstance(loaded, Recipe):
            return run_recipe(loaded, resume, callbacks=callbacks, prepared=kept)
        return run_requests(loaded, resume, callbacks, prepared=kept)
