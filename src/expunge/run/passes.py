"""What one batch costs in each kind of pass, counted on models of one and of two blocks without content.

A model of L equal blocks costs what one block does and L − 1 times what the second adds; so a model of any size is
counted in seconds. Where the blocks differ (dense and sparse ones by turns) that is an approximation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from ..adapters.anchor import place, wrap
from ..data.encoding import Example
from ..importance import estimators
from ..importance.capture import captured_gradients
from ..importance.estimator import Layer
from ..models.answers import AnswerTokens
from ..models.linear import ALL_LINEAR, matrix_shape, target_layers
from .operations import Work, counted

META = torch.device("meta")


@dataclass(frozen=True)
class Shape:
    """A batch: rows of one padded length, each with as many label tokens."""

    rows: int
    length: int
    answers: int

    @property
    def tokens(self) -> int:
        return self.rows * self.length


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
    """The passes of a causal LM of this configuration, all of whose blocks are taken to carry adapters.

    config: of transformers; dtype: that the weights are loaded in; rank, targets: of the adapters
    Raises what the model raises where it cannot run without content.
    """

    def __init__(
        self,
        config: Any,
        dtype: torch.dtype,
        rank: int = 8,
        targets: str | list[str] = ALL_LINEAR,
        trust_remote_code: bool = False,
    ):
        self.dtype = dtype
        self.depth = int(config.get_text_config().num_hidden_layers)
        self.width = int(config.get_text_config().hidden_size)
        self.rank = rank
        self.targets = targets
        self._make = lambda blocks: _model(config, dtype, blocks, trust_remote_code)

    @cached_property
    def _plain(self) -> list[Any]:
        return [self._make(blocks) for blocks in (1, 2)]

    @cached_property
    def _adapted(self) -> list[Any]:
        return [self._with_adapters(self._make(blocks)) for blocks in (1, 2)]

    def scored(self, shape: Shape) -> Work:
        """A forward pass without gradients: log-probabilities and first choices of the answers."""
        return self._deep(self._plain, lambda model: _scored(model, shape))

    def measured(self, shape: Shape, estimator: str, depth: int | None = None) -> Work:
        """The forward and backward pass of an importance estimator, its statistics included.

        depth: blocks of the model that is measured, where it is a part of this one
        """
        return self._deep(self._plain, lambda model: self._measured(model, shape, estimator), depth)

    def accumulated(self, estimator: str, d_out: int, d_in: int) -> int:
        """Bytes of the statistics of one set that an estimator keeps for one layer."""
        layer = estimators[estimator](Layer("", d_out, d_in, self.rank), META)
        sums = layer.sums(torch.empty(1, 2, d_in, device=META), torch.empty(1, 2, d_out, device=META))
        return sum(value.numel() * value.element_size() for value in sums.values())

    def trained(
        self, shape: Shape, depth: int | None = None, adapters: bool = True, recomputed: bool = False
    ) -> Work:
        """A forward and backward pass of training: of anchored adapters, or of all weights.

        recomputed: with `training.activation_checkpointing` each block passes forward twice, and all but one of them
                    keep only their input
        """
        models, blocks = self._adapted if adapters else self._plain, depth or self.depth
        one, two = (_trained(model, shape) for model in models)
        work = one.of_depth(two, blocks)
        if not recomputed:
            return work
        first, second = (_scored(model, shape) for model in models)
        forward, without_blocks = first.of_depth(second, blocks), first.of_depth(second, 0)
        kept = (blocks - 1) * shape.tokens * self.width * self.dtype.itemsize
        return Work(
            work.flops + forward.flops - without_blocks.flops,
            work.moved + forward.moved - without_blocks.moved,
            work.kernels + forward.kernels - without_blocks.kernels,
            one.peak + kept,
        )

    def decoded(self, rows: int, context: int) -> tuple[Work, Work]:
        """The pass over prompts of `context` tokens, and one over a further token with their keys and values kept."""
        (first, then), (deeper_first, deeper_then) = (_decoded(model, rows, context) for model in self._plain)
        return first.of_depth(deeper_first, self.depth), then.of_depth(deeper_then, self.depth)

    def _deep(self, models: list[Any], count: Callable[[Any], Work], depth: int | None = None) -> Work:
        one, two = (count(model) for model in models)
        return one.of_depth(two, depth or self.depth)

    def _with_adapters(self, model: Any) -> Any:
        layers = target_layers(model, self.targets)
        config = LoraConfig(
            r=self.rank,
            target_modules=sorted(layers),
            bias="none",
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in layers.values()),
            task_type="CAUSAL_LM",
        )
        shapes = {name: matrix_shape(module) for name, module in layers.items()}
        with META:
            model.requires_grad_(False)
            wrapped = wrap(model, config)
            place(
                wrapped,
                {
                    name: (torch.empty(self.rank, d_in), torch.empty(d_out, self.rank))
                    for name, (d_out, d_in) in shapes.items()
                },
            )
        # PEFT makes them fp32; mixed precision computes them in the model's dtype.
        return wrapped.to(self.dtype)

    def _measured(self, model: Any, shape: Shape, estimator: str) -> Work:
        layers = target_layers(model, self.targets)
        measured = {
            name: estimators[estimator](Layer(name, *matrix_shape(module), self.rank), META)
            for name, module in layers.items()
        }
        last: dict[int, Tensor] = {}

        def observe(name: str, x: Tensor, delta: Tensor) -> None:
            # Layers that read one input see one tensor, as when importance is measured.
            memory = x.untyped_storage()._cdata
            if memory not in last:
                last.clear()
                last[memory] = x.float()
            measured[name].sums(last[memory], delta.float())

        with counted() as found, captured_gradients(model, layers, observe):
            _answers(model, shape).log_probability.sum().backward()
        return found.work


def _model(config: Any, dtype: torch.dtype, blocks: int, trust_remote_code: bool) -> Any:
    shallow = copy.deepcopy(config)
    text = shallow.get_text_config()
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:blocks]
    text.num_hidden_layers = blocks
    with META:
        return AutoModelForCausalLM.from_config(shallow, trust_remote_code=trust_remote_code).to(dtype).eval()


def _answers(model: Any, shape: Shape) -> AnswerTokens:
    """As `answer_tokens`, whose boolean positions have no number of answers on tensors without content."""
    length = max(shape.length - 1, 1)  # the last position predicts nothing
    with META:
        logits = model(
            input_ids=torch.ones(shape.rows, length, dtype=torch.long),
            attention_mask=torch.ones(shape.rows, 1, length, length, dtype=torch.bool),
            logits_to_keep=min(shape.answers, length),
            use_cache=False,
        ).logits
        logits = logits.reshape(-1, logits.shape[-1])
        targets = torch.ones(len(logits), dtype=torch.long)
        return AnswerTokens(logits, targets, targets, shape.rows)


def _scored(model: Any, shape: Shape) -> Work:
    with torch.no_grad(), counted() as found:
        tokens = _answers(model, shape)
        _ = tokens.log_probability, tokens.correct
    return found.work


def _trained(model: Any, shape: Shape) -> Work:
    model.train()
    with counted() as found:
        _answers(model, shape).log_probability.sum().backward()
    model.eval()
    model.zero_grad()
    return found.work


def _decoded(model: Any, rows: int, context: int) -> tuple[Work, Work]:
    with META, torch.no_grad():
        with counted() as first:
            kept = model(
                input_ids=torch.ones(rows, context, dtype=torch.long),
                attention_mask=torch.ones(rows, 1, context, context, dtype=torch.bool),
                logits_to_keep=1,
                use_cache=True,
            ).past_key_values
        with counted() as then:
            model(
                input_ids=torch.ones(rows, 1, dtype=torch.long),
                attention_mask=torch.ones(rows, 1, 1, context + 1, dtype=torch.bool),
                past_key_values=kept,
                use_cache=True,
            )
    return first.work, then.work
