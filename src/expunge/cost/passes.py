"""The work of one batch in every kind of pass, counted on models of one and of two blocks without content.

A model of L equal blocks costs what one block does and L − 1 times what the second adds; so a model of any size is
counted in seconds. Where the blocks differ (dense and sparse ones by turns) that is an approximation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch

from ..data.encoding import Example
from ..importance import estimators
from ..importance.estimator import Layer
from .operations import Work, counted
from .shallow_models import META, ShallowModels, Shape, decoded, measured, prefilled, scored, trained


@dataclass(frozen=True)
class Batches:
    """Batches of about one shape. largest: tokens of the largest, as a multiple of those of `shape`."""

    shape: Shape
    count: int
    largest: float

    @classmethod
    def of(cls, batches: Sequence[Sequence[Example]]) -> Batches:
        """The typical shape of these batches: as many tokens and label tokens in all."""
        rows = sum(len(batch) for batch in batches)
        padded = [len(batch) * max(len(example) for example in batch) for batch in batches]
        answers = sum(example.label_count for batch in batches for example in batch)
        shape = Shape(
            max(1, round(rows / len(batches))),
            math.ceil(sum(padded) / rows),
            max(1, math.ceil(answers / rows)),
        )
        return cls(shape, len(batches), max(1.0, max(padded) / shape.tokens))


class Passes:
    """The passes of a causal LM, counted.

    depth: blocks of the model that passes, by default all; in a method that measures or trains a part, fewer
    Raises what the model raises where it cannot run without content.
    """

    def __init__(self, models: ShallowModels):
        self.models = models
        self._counted: dict[tuple[Any, ...], tuple[Work, Work]] = {}

    @cached_property
    def _plain(self) -> list[Any]:
        return [self.models.plain(blocks) for blocks in (1, 2)]

    @cached_property
    def _writing(self) -> list[Any]:
        return [self.models.writing(blocks) for blocks in (1, 2)] if self.models.fast else self._plain

    @cached_property
    def _adapted(self) -> list[Any]:
        return [self.models.adapted(blocks) for blocks in (1, 2)]

    def weight_bytes(self, depth: int) -> int:
        """Bytes of the weights of a model of `depth` blocks."""
        one, two = (sum(parameter.nbytes for parameter in model.parameters()) for model in self._plain)
        return one + (depth - 1) * (two - one)

    def scored(self, shape: Shape, depth: int | None = None, mixed: bool | None = None) -> Work:
        """A forward pass without gradients: log-probabilities and first choices of the answers.

        mixed: makes its products in bf16; by default as passes that score do
        """
        mixed = self.models.fast if mixed is None else mixed
        return self._deep(
            ("scored", shape, mixed), self._plain, lambda model: partial(scored, model, shape, mixed), depth
        )

    def measured(
        self, shape: Shape, estimator: str, depth: int | None = None, samples: int | None = None
    ) -> Work:
        """The forward and backward pass of an importance estimator, its statistics included.

        samples: of the smaller set; None for many
        """
        more = shape, estimator, self.models.rank, self.models.targets, samples
        return self._deep(
            ("measured", shape, estimator, samples),
            self._plain,
            lambda model: partial(measured, model, *more),
            depth,
        )

    def accumulated(self, estimator: str, d_out: int, d_in: int, samples: int | None = None) -> int:
        """Bytes of the statistics of one set that an estimator keeps for one layer."""
        layer = estimators[estimator](Layer("", d_out, d_in, self.models.rank, samples=samples), META)
        sums = layer.sums(torch.empty(1, 2, d_in, device=META), torch.empty(1, 2, d_out, device=META))
        return sum(value.numel() * value.element_size() for value in sums.values())

    def trained(
        self, shape: Shape, depth: int | None = None, adapters: bool = True, recomputed: bool = False
    ) -> Work:
        """A forward and backward pass of training: of anchored adapters, or of all weights.

        recomputed: with `training.activation_checkpointing` the blocks pass forward twice, and all but one of them
                    keep only their input
        """
        models, blocks = self._adapted if adapters else self._plain, depth or self.models.depth

        def pass_of(depth: int) -> Work:
            return self._deep(
                ("trained", shape, adapters),
                models,
                lambda model: partial(trained, model, shape, self.models.mixed),
                depth,
            )

        def forward_of(depth: int) -> Work:
            return self._deep(
                ("forward", shape, adapters),
                models,
                lambda model: partial(scored, model, shape, self.models.mixed),
                depth,
            )

        work = pass_of(blocks)
        if not recomputed:
            return work
        forward, without_blocks = forward_of(blocks), forward_of(0)
        width = self.models.config.get_text_config().hidden_size
        kept = (blocks - 1) * shape.tokens * width * self.models.dtype.itemsize
        return Work(
            work.flops + forward.flops - without_blocks.flops,
            work.moved + forward.moved - without_blocks.moved,
            work.kernels + forward.kernels - without_blocks.kernels,
            pass_of(1).peak + kept,
        )

    def prefilled(self, rows: int, context: int, depth: int | None = None) -> Work:
        """The pass over prompts of `context` tokens, whose keys and values are kept."""
        return self._deep(
            ("prefilled", rows, context),
            self._writing,
            lambda model: partial(prefilled, model, rows, context, self.models.fast),
            depth,
        )

    def decoded(self, rows: int, context: int, depth: int | None = None) -> Work:
        """The pass over one token after `context` others whose keys and values are kept."""
        return self._deep(
            ("decoded", rows, context),
            self._writing,
            lambda model: partial(
                decoded, model, rows, prefilled(model, rows, context, self.models.fast), self.models.fast
            ),
            depth,
        )

    def _deep(
        self,
        key: tuple[Any, ...],
        models: list[Any],
        pass_of: Callable[[Any], Callable[[], object]],
        depth: int | None,
    ) -> Work:
        """The work with `depth` blocks, from that with one and with two, which are counted once."""
        if key not in self._counted:
            one, two = (_count(pass_of(model)) for model in models)
            self._counted[key] = one, two
        one, two = self._counted[key]
        return one.of_depth(two, self.models.depth if depth is None else depth)


def _count(run: Callable[[], object]) -> Work:
    with counted() as counts:
        run()
    return counts.work
