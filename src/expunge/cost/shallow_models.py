"""Models of a few blocks without trained weights, and the passes that a run makes, through one batch of a shape.

On the meta device such a pass is counted (`passes`); on a real one it is timed (`trial_passes`). It is the same code,
so that both speak of the same work: the batch has no padding, its tokens are all alike, and the mask is given as a
matrix, as one with padding would be.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from ..adapters.anchor import place, wrap
from ..importance import estimators
from ..importance.capture import captured_gradients
from ..importance.estimator import Layer
from ..models.answers import AnswerTokens
from ..models.half_precision import round_weights
from ..models.linear import matrix_shape, target_layers
from ..models.settings import ALL_LINEAR
from ..trust import is_trusted
from .operations import AutocastOnMeta

META = torch.device("meta")
#: What a trial's weights are filled with.
FILLED = 0.01


@dataclass(frozen=True)
class Shape:
    """A batch: rows of one padded length, all with as many label tokens."""

    rows: int
    length: int
    answers: int

    @property
    def tokens(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True)
class ShallowModels:
    """Models of this configuration with as many blocks as asked for, all of which carry adapters.

    config: of transformers; dtype: of the weights; rank, targets: of the adapters
    mixed: training makes its products in bf16, whatever the dtype; fast: so do passes that score and write
    """

    config: Any
    dtype: torch.dtype
    rank: int = 8
    targets: str | list[str] = ALL_LINEAR
    mixed: bool = False
    fast: bool = False

    @property
    def depth(self) -> int:
        return int(self.config.get_text_config().num_hidden_layers)

    def plain(self, blocks: int, device: torch.device = META) -> Any:
        """A model in eval mode; on a real device its weights are all alike: to draw them takes longer than a pass."""
        shallow = copy.deepcopy(self.config)
        text = shallow.get_text_config()
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:blocks]
        text.num_hidden_layers = blocks
        with META:
            model = AutoModelForCausalLM.from_config(
                shallow, dtype=self.dtype, trust_remote_code=is_trusted()
            ).eval()
        return model if device == META else _filled(model, device)

    def writing(self, blocks: int, device: torch.device = META) -> Any:
        """The plain model as it is while it writes."""
        model = self.plain(blocks, device)
        if self.fast:
            round_weights(model)
        return model

    def adapted(self, blocks: int, device: torch.device = META) -> Any:
        """The same with anchored adapters, as they are trained: of a bf16 model PEFT keeps them in fp32."""
        model = self.plain(blocks, device)
        layers = target_layers(model, self.targets)
        config = LoraConfig(
            r=self.rank,
            target_modules=sorted(layers),
            bias="none",
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in layers.values()),
            task_type="CAUSAL_LM",
        )
        with device:
            model.requires_grad_(False)
            wrapped = wrap(model, config)
            place(
                wrapped,
                {
                    name: (torch.ones(self.rank, d_in), torch.ones(d_out, self.rank))
                    for name, (d_out, d_in) in (
                        (name, matrix_shape(module)) for name, module in layers.items()
                    )
                },
            )
        return wrapped


def _filled(model: Any, device: torch.device) -> Any:
    """A model of the meta device on a real one. What is left in memory would do as little as numbers too small to be
    normal: some processors are slow at them."""
    model.to_empty(device=device)
    model.tie_weights()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(FILLED if tensor.is_floating_point() else 0)
    return model


def scored(model: Any, shape: Shape, mixed: bool = False) -> None:
    """A forward pass without gradients: log-probabilities and first choices of the answers.

    mixed: its products are made in bf16, here and below
    """
    with torch.no_grad(), _autocast(model, mixed):
        tokens = _answers(model, shape)
        _ = tokens.log_probability, tokens.correct


def trained(model: Any, shape: Shape, mixed: bool = False) -> None:
    """A forward and backward pass to what of the model is trainable."""
    model.train()
    with _autocast(model, mixed):
        tokens = _answers(model, shape)
    tokens.log_probability.sum().backward()
    model.eval()
    model.zero_grad()


def measured(
    model: Any,
    shape: Shape,
    estimator: str,
    rank: int,
    targets: str | list[str],
    samples: int | None = None,
) -> None:
    """The forward and backward pass of an importance estimator, with the statistics of every layer.

    samples: of the smaller set; None for many
    """
    layers = target_layers(model, targets)
    device = model.get_input_embeddings().weight.device
    accumulators = {
        name: estimators[estimator](Layer(name, *matrix_shape(module), rank, samples=samples), device)
        for name, module in layers.items()
    }
    last: dict[int, Tensor] = {}

    def observe(name: str, x: Tensor, delta: Tensor) -> None:
        # Layers that read one input see one tensor, as when importance is measured.
        memory = x.untyped_storage()._cdata
        if memory not in last:
            last.clear()
            last[memory] = x.float()
        accumulators[name].sums(last[memory], delta.float())

    with captured_gradients(model, layers, observe):
        _answers(model, shape).log_probability.sum().backward()


def prefilled(model: Any, rows: int, context: int, mixed: bool = False) -> Any:
    """The pass over prompts of `context` tokens; returns their keys and values."""
    device = model.get_input_embeddings().weight.device
    with device, torch.no_grad(), _autocast(model, mixed):
        return model(
            input_ids=torch.ones(rows, context, dtype=torch.long),
            attention_mask=torch.ones(rows, 1, context, context, dtype=torch.bool),
            logits_to_keep=1,
            use_cache=True,
        ).past_key_values


def decoded(model: Any, rows: int, kept: Any, mixed: bool = False) -> None:
    """The pass over one further token, whose keys and values are added to those that are kept."""
    device = model.get_input_embeddings().weight.device
    with device, torch.no_grad(), _autocast(model, mixed):
        model(
            input_ids=torch.ones(rows, 1, dtype=torch.long),
            attention_mask=torch.ones(rows, 1, 1, kept.get_seq_length() + 1, dtype=torch.bool),
            past_key_values=kept,
            use_cache=True,
        )


def _autocast(model: Any, mixed: bool) -> AbstractContextManager[Any]:
    device = model.get_input_embeddings().weight.device
    if not mixed:
        return nullcontext()
    if device == META:
        return AutocastOnMeta(torch.bfloat16)
    return torch.autocast(device.type, torch.bfloat16)


def _answers(model: Any, shape: Shape) -> AnswerTokens:
    """As `answer_tokens`, whose boolean positions have no number of answers on tensors without content."""
    length = max(shape.length - 1, 1)  # the last position predicts nothing
    with model.get_input_embeddings().weight.device:
        logits = model(
            input_ids=torch.ones(shape.rows, length, dtype=torch.long),
            attention_mask=torch.ones(shape.rows, 1, length, length, dtype=torch.bool),
            logits_to_keep=min(shape.answers, length),
            use_cache=False,
        ).logits
        logits = logits.reshape(-1, logits.shape[-1])
        targets = torch.ones(len(logits), dtype=torch.long)
        return AnswerTokens(logits, targets, targets, shape.rows)
