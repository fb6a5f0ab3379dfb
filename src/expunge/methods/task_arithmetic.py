"""`task_arithmetic`: learn the forget set, and go the same way backwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft.helpers import rescale_adapter_scale

from ..objectives import Objective, Term, retain_losses
from ..recipe import methods
from .method import Method


class TaskArithmetic(Method):
    """An adapter is trained on the forget set by the negative log-likelihood, and subtracted."""

    formula = "W − scale · s·BA, where W + s·BA minimises −log p on the forget set"
    paper = "Ilharco et al. 2023, editing models with task arithmetic"
    published = "all weights, not an adapter; scale: chosen on held-out data"

    def objective(self) -> Objective:
        return Objective([Term(retain_losses["nll"], "forget")])

    @contextmanager
    def handed_over(self, original: Any, trained: Any) -> Iterator[Any]:
        """Within the block the adapter counts negatively, for whoever reads its scaling: forward pass and export."""
        settings = self.recipe.method
        assert isinstance(settings, methods.TaskArithmetic)
        with rescale_adapter_scale(trained, -settings.scale):
            yield trained
