"""Models and tokenizers from a folder or the hub, with a sentence where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging

from ..errors import InputError, Problem
from .processes import device
from .settings import Model

#: The files of which a tokenizer has at least one.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")

logging.disable_progress_bar()  # a bar for each load of a small model hides the run's own progress


def load_config(model: Model, key: str = "model.path") -> Any:
    """The model's configuration. Raises `InputError` where there is none."""
    return _from(model, key, AutoConfig.from_pretrained)


def load_tokenizer(model: Model, key: str = "model.path") -> Any:
    """The model's tokenizer. Raises `InputError` where there is none."""
    try:
        tokenizer = _from(model, key, AutoTokenizer.from_pretrained, "the tokenizer of ")
    except InputError as error:
        path = Path(model.path)
        files = [path / name for name in TOKENIZER_FILES]
        if not (path / "config.json").is_file() or any(file.is_file() for file in files):
            raise
        raise _no_tokenizer(model, key) from error
    # Of some families transformers makes an empty one where the files are missing: every text would be no token.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise _no_tokenizer(model, key)
    return tokenizer


def load_base(model: Model, key: str = "model.path") -> Any:
    """The causal LM of the checkpoint on this process's device, in eval mode, from safetensors only.

    Raises `InputError` where the folder or hub id holds no such model or not all of its weights.
    """
    options: dict[str, Any] = {"dtype": dtype(model)}
    if model.quantization:
        options |= {"quantization_config": quantization_config(model), "device_map": {"": device()}}
    refuse_pickle(model, key)
    loaded = load_weights(model, key, **options)
    return (loaded if model.quantization else loaded.to(device())).eval()


def load_weights(model: Model, key: str, **options: Any) -> Any:
    """The model with all weights of its checkpoint; `options` are those of `from_pretrained`. Raises as `load_base`."""
    loaded, found = _from(
        model,
        key,
        AutoModelForCausalLM.from_pretrained,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # told below, by name
        output_loading_info=True,
        **options,
    )
    # transformers fills such weights with random numbers, and only warns.
    faults = sorted(found["missing_keys"])
    faults += [
        f"{name} (of shape {tuple(there)}, not {tuple(wanted)})"
        for name, there, wanted in sorted(found["mismatched_keys"])
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            Problem(key, f"the checkpoint {model.path!r} lacks weights of its model: {', '.join(faults[:3])}{more}.",
                    "Copy weights and config.json anew from where they come.")
        )  # fmt: skip
    return loaded


def empty_model(model: Model, key: str = "model.path") -> Any:
    """The model's shapes on the meta device: no weights are read and no memory is taken."""
    config = load_config(model, key)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=model.trust_remote_code)
    except (ValueError, KeyError) as error:
        raise _no_model(model, key, error) from error


def dtype(model: Model) -> torch.dtype | str:
    """`auto` is the checkpoint's own on an accelerator; a CPU computes bf16 slowly, so there it is fp32."""
    if model.dtype != "auto":
        return getattr(torch, model.dtype)
    return torch.float32 if device().type == "cpu" else "auto"


def quantization_config(model: Model) -> BitsAndBytesConfig:
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        raise InputError(
            Problem("model.quantization", f"{model.quantization} needs bitsandbytes, which is not installed.",
                    "pip install 'expunge[quantization]'")
        ) from None  # fmt: skip
    if model.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )


def _from(model: Model, key: str, load: Any, part: str = "", **options: Any) -> Any:
    path = Path(model.path)
    local = path.is_dir()
    if not local and (model.path.startswith((".", "~", "/")) or model.path.count("/") != 1):
        raise InputError(
            Problem(key, f"there is no folder {model.path!r}.",
                    "Name a folder with a Hugging Face model, or its id on the hub (organisation/name).")
        )  # fmt: skip
    if local and not (path / "config.json").is_file():
        raise InputError(
            Problem(key, f"the folder {model.path!r} holds no model: config.json is missing.",
                    "Name the folder that save_pretrained wrote.")
        )  # fmt: skip
    try:
        return load(
            str(path) if local else model.path,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            **options,
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        # What transformers raises for a folder or id without weights, tokenizer or known architecture.
        raise _no_model(model, key, error, part) from error


def _no_model(model: Model, key: str, error: Exception, part: str = "") -> InputError:
    reason = " ".join(str(error).split())[:300].rstrip(".")
    if isinstance(error, SafetensorError):
        reason = f"its safetensors weights are damaged or cut short ({reason})"
    return InputError(
        Problem(key, f"{part}{model.path!r} cannot be loaded: {reason}.",
                "Check the path; a causal language model needs its config, safetensors weights and tokenizer.")
    )  # fmt: skip


def _no_tokenizer(model: Model, key: str) -> InputError:
    return InputError(
        Problem(key, f"{model.path!r} holds no tokenizer: none of {', '.join(TOKENIZER_FILES)} is there.",
                "Copy the tokenizer's files there from where the model comes.")
    )  # fmt: skip


def refuse_pickle(model: Model, key: str) -> None:
    """Weights that are there only as pickle: reading them could run code."""
    path = Path(model.path)
    pickled = sorted(file.name for file in path.glob("pytorch_model*.bin"))
    if pickled and not any(path.glob("*.safetensors")):
        raise InputError(
            Problem(key, f"the weights of {model.path!r} are pickled ({pickled[0]}), and reading those can run code.",
                    "Where you trust them, load the model by transformers and write it anew by save_pretrained.")
        )  # fmt: skip
