"""`expunge validate`: what a run would do, from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..models.linear import linear_layers, matrix_shape
from ..models.loading import dtype, empty_model, load_tokenizer
from ..recipe import Recipe, dump_recipe, load_recipe
from ..training.train import steps_an_epoch
from .job import check_adapter, check_inputs, encode_sets, make_benchmark, make_encoder

QUANTIZED_BYTES = {"4bit": 0.5, "8bit": 1.0}


def plan(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved recipe, optimiser steps, trainable parameters and an estimate of the peak memory.

    Reads the data and the model's configuration, not its weights. Raises `InputError` with every mistake.
    """
    recipe = load_recipe(source, overrides)
    data = check_inputs(recipe)
    encoder = make_encoder(load_tokenizer(recipe.model), recipe.data)
    held_out, forget, _ = encode_sets(data, encoder, recipe)
    make_benchmark(recipe, encoder, data, held_out)
    longest = max(len(example) for example in forget)
    model = empty_model(recipe.model)
    targets = check_adapter(model, recipe)
    trainable = sum(recipe.adapter.rank * sum(matrix_shape(module)) for module in targets.values())
    steps = steps_an_epoch(len(forget), recipe.training)
    memory = peak_memory(recipe, model, trainable, longest)
    return {
        "recipe": dump_recipe(recipe),
        "format": data.format,
        "forget_samples": len(data.forget.samples),
        "retain_samples": len(data.retain.samples) if data.retain else 0,
        "steps": steps * recipe.training.epochs,
        "trainable_parameters": trainable,
        "peak_memory_bytes": memory,
        "lines": [
            f"data: {data.format}, {len(data.forget.samples)} samples to forget, "
            f"{len(data.retain.samples) if data.retain else 0} to keep, longest {longest} tokens",
            f"training: {recipe.training.epochs} epochs of {steps} steps",
            f"adapter: {len(targets)} layers, {trainable:,} trainable parameters",
            f"memory: about {memory / 1e9:.2f} GB at the peak of training (estimated)",
        ],
    }


def peak_memory(recipe: Recipe, model: Any, trainable: int, longest: int) -> int:
    """Bytes at the peak of training, estimated: weights, adapter with its optimiser, activations, logits.

    Activations: per token, every linear layer keeps its input and output once, twice for what lies between them
    (norms, attention, activation functions). Logits: every answer position keeps them in the model's dtype and once
    in fp32, with one gradient.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    chosen = dtype(recipe.model)
    width = (
        chosen.itemsize if isinstance(chosen, torch.dtype) else (model.config.dtype or torch.float32).itemsize
    )
    tokens = 2 * recipe.training.micro_batch_size * longest
    layers = sum(sum(matrix_shape(module)) for module in linear_layers(model).values())
    vocabulary = model.config.get_text_config().vocab_size
    weights = parameters * (
        QUANTIZED_BYTES[recipe.model.quantization] if recipe.model.quantization else width
    )
    adapter = trainable * (4 + 4 + 8 + 4)  # weight, gradient, Adam's two moments, anchor
    activations = 2 * tokens * layers * width
    logits = tokens * vocabulary * (2 * width + 4)
    return int(weights + adapter + activations + logits)
