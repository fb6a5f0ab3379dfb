"""Telling one base model from another.

A fingerprint is two hashes, `WEIGHTS-FUNCTION`, or three where it was asked for in full, `WEIGHTS-FUNCTION-ALL`:

    WEIGHTS   name, shape and 64 evenly spaced values of every parameter
    FUNCTION  the configuration, and 64 values of every buffer that a checkpoint holds
    ALL       every value of every parameter and buffer

Values count as bf16 holds them, so a checkpoint has one fingerprint in whatever dtype it is loaded. Version 0.1.0 knew
only the first hash. What docs/fingerprint.md says users can rely on is decided here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..errors import InputError, Problem

SAMPLES_PER_TENSOR = 64
#: Set to `full`, it asks for a hash of every value too.
EXTENT = "EXPUNGE_FINGERPRINT"
#: Keys of a configuration, at any depth, that change neither what a model computes nor how it is trained.
WITHOUT_EFFECT = frozenset({
    "_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "quantization_config",
    "use_cache", "output_attentions", "output_hidden_states", "output_router_logits", "return_dict",
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "initializer_range",
    "id2label", "label2id", "problem_type", "finetuning_task", "task_specific_params", "pretraining_tp",
})  # fmt: skip
#: Attribute of a model whose weights in memory are rounded: what is hashed of them → of its checkpoint's own.
_OF_CHECKPOINT = "_samples_of_checkpoint"
#: Attribute of a model that keeps the fingerprint which it had once.
_REMEMBERED = "_fingerprint"
#: The named tensors of a model, and what is hashed of one of them.
Tensors: TypeAlias = Callable[[Any], Iterator[tuple[str, Tensor]]]
Values: TypeAlias = Callable[[Tensor], bytes]
#: Numbers that are converted and hashed at a time.
_BLOCK = 2**24


def fingerprint(model: Any) -> str:
    """The hashes of a model, of the base alone where adapters are attached.

    It is quick at any size, the same for a checkpoint loaded in fp32 and in bf16, and another one after any finetuning.
    Weights that are still as `load_model` rounded them to fp16 or quantised them count as the checkpoint's, which only
    it knows of: a model that transformers loaded so is another one. It tells bases apart; it is no defence against
    someone who forges one.

    Raises `InputError` where the environment asks for an extent that there is not.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if remembered := getattr(base, _REMEMBERED, None):
        return remembered
    function = _digest(base, _buffers, _sampled) + configuration_digest(base.config).encode()
    hashes = [_digest(base, _parameters, _sampled).hex()[:32], hashlib.sha256(function).hexdigest()[:16]]
    if in_full():
        every = _digest(base, _parameters, _complete) + _digest(base, _buffers, _complete)
        hashes.append(hashlib.sha256(every).hexdigest()[:32])
    return "-".join(hashes)


def in_full() -> bool:
    """Whether the environment asks for every value to be hashed."""
    extent = os.environ.get(EXTENT, "sampled")
    if extent not in ("sampled", "full"):
        raise InputError(Problem(EXTENT, f"there is no extent {extent!r}.", "Set it to full or sampled."))
    return extent == "full"


def configuration_digest(config: Any) -> str:
    """SHA-256 of all settings of a configuration but those `WITHOUT_EFFECT`.

    A setting that has its default counts as one that is left out, so a later transformers that knows a further one
    gives the same.
    """
    return _json_digest(_settings(config.to_dict(), _defaults(config)))


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of what makes ids and prompts of a text: vocabulary, rules, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        # They follow the last call, not the tokenizer's files.
        rules = {name: rule for name, rule in rules.items() if name not in ("padding", "truncation")}
    else:
        rules = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return _json_digest([rules, special, getattr(tokenizer, "chat_template", None)])


def remember_checkpoint(rounded: Any, checkpoint: Any) -> None:
    """Let `rounded`, in fp16 or quantised, have the fingerprint of `checkpoint`, the same model in its own dtype.

    A tensor keeps this fingerprint until it is changed; parts of the model have it too.
    """
    known: dict[bytes, bytes] = {}
    for values in (_sampled, _complete) if in_full() else (_sampled,):
        for tensors in (_parameters, _buffers):
            own = dict(_contents(checkpoint, tensors, values))
            known |= {
                content: own[name] for name, content in _contents(rounded, tensors, values) if name in own
            }
    setattr(rounded, _OF_CHECKPOINT, known)


def remember_fingerprint(model: Any) -> None:
    """Let `model` keep its fingerprint: it is about to be sharded, and is frozen from then on."""
    setattr(model, _REMEMBERED, fingerprint(model))


def _digest(base: Any, tensors: Tensors, values: Values) -> bytes:
    of_checkpoint = getattr(base, _OF_CHECKPOINT, {})
    digest = hashlib.sha256()
    for _, content in sorted(_contents(base, tensors, values)):
        digest.update(of_checkpoint.get(content, content))
    return digest.digest()


def _contents(base: Any, tensors: Tensors, values: Values) -> Iterator[tuple[str, bytes]]:
    """The tensors' names, and the bytes that are hashed of them."""
    for full_name, tensor in tensors(base):
        if ".lora_" not in full_name:
            name = full_name.replace(".base_layer.", ".")
            yield name, f"{name}{tuple(tensor.shape)}".encode() + values(tensor.detach())


def _parameters(base: Any) -> Iterator[tuple[str, Tensor]]:
    yield from base.named_parameters()


def _buffers(base: Any) -> Iterator[tuple[str, Tensor]]:
    """The buffers that a checkpoint holds; the others follow from the configuration."""
    for prefix, module in base.named_modules():
        for name, buffer in module.named_buffers(prefix, recurse=False):
            if name.rpartition(".")[2] not in module._non_persistent_buffers_set:
                yield name, buffer


def _sampled(tensor: Tensor) -> bytes:
    flat = tensor.reshape(-1)
    step = max(1, flat.numel() // SAMPLES_PER_TENSOR)
    return flat[::step][:SAMPLES_PER_TENSOR].to(torch.bfloat16).float().cpu().numpy().tobytes()


def _complete(tensor: Tensor) -> bytes:
    digest = hashlib.sha256()
    for block in tensor.reshape(-1).split(_BLOCK):
        digest.update(block.to(torch.bfloat16).view(torch.int16).cpu().numpy().tobytes())
    return digest.digest()


def _defaults(config: Any) -> dict[str, Any]:
    try:
        return type(config)().to_dict()
    except Exception:  # a model's own Python may need arguments: then every setting counts
        return {}


def _settings(content: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in content.items():
        default = defaults.get(name)
        if isinstance(value, dict) and isinstance(default, dict):
            value, default = _settings(value, default), {}
        if name not in WITHOUT_EFFECT and (value != default or name == "model_type"):
            kept[name] = value
    return kept


def _json_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
