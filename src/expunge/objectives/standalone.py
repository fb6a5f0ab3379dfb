"""A loss of a model's logits, for a training loop of one's own: `expunge.losses`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError
from torch import Tensor

from ..errors import InputError, Problem, nearest
from ..models.answers import IGNORED, AnswerTokens
from ..settings import misfit
from .loss import Loss, Outputs
from .objective import Objective, StepTotals, Term


@dataclass(frozen=True)
class StandaloneLoss:
    """A registered loss as a function of logits and labels; `losses.ihl(logits, labels)` is one of these.

    name: what recipes and messages call it
    loss: formula, paper, hyper-parameters, and what it needs beside the logits (`expunge methods` lists all)
    """

    name: str
    loss: Loss

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        reference_logits: Tensor | None = None,
        reinforced_logits: Tensor | None = None,
        substitute_logits: Tensor | None = None,
        substitute_labels: Tensor | None = None,
        reference_substitute_logits: Tensor | None = None,
        hidden: Tensor | None = None,
        reference_hidden: Tensor | None = None,
        **hyperparameters: float,
    ) -> Tensor:
        """The mean of the loss over the label tokens of the batch (over its sequences, of a loss of sequences: npo,
        simnpo, dpo, altpo), a scalar in fp32, as the trainer has it. 0 where nothing is predicted.

        logits: (batch, length, vocabulary), any floating dtype, as a causal LM returns them for `input_ids`
        labels: (batch, length) int64, the token ids, −100 where nothing is predicted (prompt, padding). As in
                transformers they are not shifted: `labels[:, t]` is predicted by `logits[:, t - 1]`

        What a loss needs beside them; one that does not ask for it does not look at it:

        reference_logits:  as `logits`, of the same tokens under the model as it was before training, without gradient:
                           `with torch.no_grad(), model.disable_adapter()` (undial, npo, dpo, altpo, whp, kl, keep)
        reinforced_logits: the same under a model that was trained further *on* the forget set (whp)
        substitute_logits, substitute_labels, reference_substitute_logits:
                           the same three of another answer to every question, a refusal say, in a batch of its own with
                           as many rows (dpo, altpo); idk is given the refusals as `logits` and `labels`
        hidden, reference_hidden: (batch, length, d), hidden states after one block (rmu): of `layer=7` they are
                           `output_hidden_states=True`'s `hidden_states[8]`
        hyperparameters:   the loss's own, by the recipe's names (`beta=0.1`); each has the paper's default

        Raises `InputError` for shapes that do not fit, for what the loss needs and is not given, and for a
        hyper-parameter that it does not have or whose value is none.
        """
        given = {
            "tokens": _Given("logits", logits, "labels", labels, "hidden", hidden),
            "original": _Given(
                "reference_logits", reference_logits, "labels", labels, "reference_hidden", reference_hidden
            ),
            "reinforced": _Given("reinforced_logits", reinforced_logits, "labels", labels),
            "substitute": _Given("substitute_logits", substitute_logits, "substitute_labels", substitute_labels),
            "original_substitute": _Given(
                "reference_substitute_logits", reference_substitute_logits, "substitute_labels", substitute_labels
            ),
        }  # fmt: skip
        looked_at = [given[output] for output in self._outputs]
        problems = [
            Problem(f"losses.{self.name}", *said)
            for one in looked_at
            for said in one.problems(len(labels), hidden=self._hidden)
        ]
        if problems:
            raise InputError(list(dict.fromkeys(problems)))
        outputs = Outputs(**dict(zip(self._outputs, (one.tokens() for one in looked_at), strict=True)))
        counts = outputs.tokens.token_counts
        totals = StepTotals(tokens=float(counts.sum()), sequences=float((counts > 0).sum()))
        term = Term(self.loss)
        return Objective([term], self._settings(hyperparameters)).share(term, outputs, totals)

    @property
    def _outputs(self) -> list[str]:
        """The fields of `Outputs` that the loss looks at."""
        fields = ["tokens", *sorted(self.loss.needs - {"hidden"})]
        if self.loss.substitute and not self.loss.instead:
            fields += ["substitute", *(["original_substitute"] if "original" in self.loss.needs else [])]
        return fields

    @property
    def _hidden(self) -> bool:
        return "hidden" in self.loss.needs

    def _settings(self, given: dict[str, float]) -> dict[str, float]:
        where = f"losses.{self.name}"
        for name in given.keys() - self.loss.hyperparameters.keys():
            there = self.loss.hyperparameters
            remedy = nearest(name, there) if there else "It has none: leave it out."
            raise InputError(Problem(where, f"there is no hyper-parameter {name!r}.", remedy))
        try:
            return self.loss.settings.model_validate(given).model_dump()
        except ValidationError as error:
            raise InputError(
                [misfit(f"{where}, {detail['loc'][0]}", detail) for detail in error.errors()]
            ) from None


@dataclass(frozen=True)
class _Given:
    """Arguments that make one `AnswerTokens`, each after its name."""

    logits_name: str
    logits: Tensor | None
    labels_name: str
    labels: Tensor | None
    hidden_name: str = ""
    hidden: Tensor | None = None

    def problems(self, rows: int, hidden: bool) -> Iterator[tuple[str, str]]:
        """What is missing and what does not fit, each a reason and a remedy. hidden: whether hidden states are needed

        rows: those of the true answers
        """
        named = [
            (self.labels_name, self.labels, "batch, length"),
            (self.logits_name, self.logits, "batch, length, V"),
        ]
        if hidden and self.hidden_name:
            named.append((self.hidden_name, self.hidden, "batch, length, d"))
        for name, tensor, axes in named:
            if tensor is None:
                yield f"it needs {name}.", f"Give {name}; docs/python.md tells how."
            elif tensor.ndim != len(axes.split()):
                yield f"{name} is of shape {tuple(tensor.shape)}.", f"Give {name} as ({axes})."
            elif self.labels is not None and tensor.shape[:2] != self.labels.shape:
                yield (f"{name} is of shape {tuple(tensor.shape)}, but {self.labels_name} is of "
                       f"{tuple(self.labels.shape)}.",
                       f"Give {name} as ({axes}) of the same tokens, not shifted.")  # fmt: skip
        if self.labels is not None and len(self.labels) != rows:
            yield (f"{self.labels_name} has {len(self.labels)} rows, and labels {rows}.",
                   "Give one other answer for every answer.")  # fmt: skip

    def tokens(self) -> AnswerTokens:
        assert self.logits is not None
        assert self.labels is not None
        following = self.labels[:, 1:]
        predicted = following != IGNORED
        hidden = None if self.hidden is None else self.hidden[:, :-1][predicted]
        return AnswerTokens(
            self.logits[:, :-1][predicted],
            following[predicted],
            predicted.nonzero()[:, 0],
            len(self.labels),
            hidden,
        )
