"""Models and tokenizers from a folder or the hub, with a sentence where there is none."""

from __future__ import annotations

import json
import os
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging

from ..errors import InputError, Problem
from ..hub import ask, connection_remedy, is_hub_id
from ..intact import read_object
from ..progress import say
from ..trust import FLAG, is_trusted
from .processes import device, shards
from .settings import Model

#: The files of which a tokenizer has at least one.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
#: A checkpoint's weights in one file, or what names its files.
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
#: A folder with this file is an adapter's; where a model is there too, transformers adds the adapter to it unasked.
ADAPTER = "adapter_config.json"

# Where a repository has no safetensors, transformers would ask a third party to convert it, and take what comes.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
logging.disable_progress_bar()  # a bar per load of a small model hides the run's own progress


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
        if not os.path.isfile(path / "config.json") or any(file.is_file() for file in files):
            raise
        raise _no_tokenizer(model, key) from error
    # For some families transformers makes an empty tokenizer where files are missing: every text would be no token.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise _no_tokenizer(model, key)
    return tokenizer


def load_base(model: Model, key: str = "model.path") -> Any:
    """The causal LM of the checkpoint, in eval mode, from safetensors only.

    It is on this process's device, or on the CPU where it is to be sharded.

    Raises `InputError` where the folder or hub id holds no such model or not all of its weights.
    """
    options: dict[str, Any] = {"dtype": dtype(model)}
    if model.quantization:
        options |= {"quantization_config": quantization_config(model), "device_map": {"": device()}}
    refuse_unsafe(model, key)
    loaded = load_weights(model, key, **options)
    if options["dtype"] == "auto" and not model.quantization:
        loaded = without_float16(loaded)
    for module in loaded.modules():
        # bitsandbytes would rewrite 4-bit weights in an order of its own at the first pass on such a CPU, which neither
        # PEFT's dequantisation nor the fingerprint knows.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    try:
        return (loaded if model.quantization or shards() else loaded.to(device())).eval()
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        raise _no_model(model, key, error) from error


def load_weights(model: Model, key: str, **options: Any) -> Any:
    """The model with all weights of its checkpoint; `options` are those of `from_pretrained`.

    Raises `InputError` where its files lack a weight, hold one that is no number, or bring an adapter with them.
    """
    loaded, info = _from(
        model,
        key,
        AutoModelForCausalLM.from_pretrained,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # told below, by name
        output_loading_info=True,
        **options,
    )
    # transformers fills such weights with random numbers, and only warns.
    faults = sorted(info["missing_keys"])
    faults += [
        f"{name} (of shape {tuple(there)}, not {tuple(wanted)})"
        for name, there, wanted in sorted(info["mismatched_keys"])
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            Problem(key, f"the checkpoint {model.path!r} lacks weights of its model: {', '.join(faults[:3])}{more}.",
                    "Copy weights and config.json anew from where they come.")
        )  # fmt: skip
    if unused := sorted(info["unexpected_keys"]):
        more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
        say(f"The checkpoint {model.path!r} holds weights that its model has no place for, and that are left out: "
            f"{', '.join(unused[:3])}{more}")  # fmt: skip
    if getattr(loaded, "_hf_peft_config_loaded", False):  # of a folder it shows before, of the hub only now
        raise _with_adapter(model, key)
    _refuse_no_numbers(loaded, model, key)
    return loaded


def _refuse_no_numbers(loaded: Any, model: Model, key: str) -> None:
    """Refuse NaN and infinity: they pass through one sum after another, so every measurement would be one of them."""
    spoilt = [name for name, weight in loaded.named_parameters() if not _is_finite(weight.detach())]
    if not spoilt:
        return
    more = f" and {len(spoilt) - 3} more" if len(spoilt) > 3 else ""
    what = f"holds weights that are no finite numbers: {', '.join(spoilt[:3])}{more}"
    if loaded.dtype == torch.float16:
        remedy = "They may be too large for float16: set model.dtype to bfloat16. Else copy them from where they come."
    else:
        remedy = (
            "Copy the weights anew from where they come, or take an earlier checkpoint of their training."
        )
    raise InputError(Problem(key, f"the checkpoint {model.path!r} {what}.", remedy))


def _is_finite(weight: Tensor) -> bool:
    if not weight.is_floating_point() or weight.element_size() == 1 or not weight.numel():
        return True  # numbers of 8 and of 4 bits are scaled by others, and have no infinity
    low, high = torch.aminmax(weight)  # NaN goes through both
    return bool(torch.isfinite(low) & torch.isfinite(high))


def empty_model(model: Model, key: str = "model.path") -> Any:
    """The model's shapes on the meta device: no weights are read and no memory is taken."""
    config = load_config(model, key)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=is_trusted())
    except (ValueError, KeyError) as error:
        raise _no_model(model, key, error) from error


def dtype(model: Model) -> torch.dtype | str:
    """`auto` is the checkpoint's own on an accelerator (but see `without_float16`); a CPU computes bf16 slowly, so
    there it is fp32."""
    if model.dtype != "auto":
        return getattr(torch, model.dtype)
    return torch.float32 if device().type == "cpu" else "auto"


def without_float16(loaded: Any) -> Any:
    """The model in bf16 where it is in fp16: a loss that is not scaled has gradients there that vanish."""
    return loaded.to(torch.bfloat16) if loaded.dtype == torch.float16 else loaded


def quantization_config(model: Model) -> BitsAndBytesConfig:
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        raise InputError(
            Problem("model.quantization", f"{model.quantization} needs bitsandbytes, which is not installed.",
                    "pip install 'expunge[quantization]'")
        ) from None  # fmt: skip
    if model.quantization == "8bit":
        # It says of every layer that its products are of fp16, as they are by design.
        getLogger("bitsandbytes.autograd._functions").setLevel(ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    given = dtype(model)
    compute = torch.bfloat16 if given == "auto" else given
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def _from(model: Model, key: str, load: Any, part: str = "", **options: Any) -> Any:
    path = Path(model.path)
    local = os.path.isdir(path)  # which a name that is too long is not; Path.is_dir raises
    if not local and not is_hub_id(model.path):
        raise InputError(
            Problem(key, f"there is no folder {model.path[:200]!r}.",
                    "Name a folder with a Hugging Face model, or its id on the hub (organisation/name; where a folder "
                    "'organisation' is here, it is taken for a path).")
        )  # fmt: skip
    if local and (path / ADAPTER).is_file():
        raise _with_adapter(model, key)
    if local and not (path / "config.json").is_file():
        raise InputError(
            Problem(key, f"the folder {model.path!r} holds no model: config.json is missing.",
                    "Name the folder that save_pretrained wrote.")
        )  # fmt: skip
    if model.trust_remote_code and not is_trusted():
        raise _untrusted(
            "model.trust_remote_code", "a recipe gives no leave to run code: it may come from anyone"
        )
    if not local:
        ask("model", model.path)
    try:
        return load(
            str(path) if local else model.path,
            revision=model.revision,
            trust_remote_code=is_trusted(),
            **options,
        )
    except (
        OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, MemoryError, SafetensorError,
    ) as error:  # fmt: skip
        # transformers raises these for a folder or id without weights, tokenizer or known architecture.
        if not is_trusted() and "trust_remote_code" in str(error):
            raise _untrusted(
                key, f"{part}{model.path!r} comes with Python code, and cannot be loaded without"
            ) from error
        raise _no_model(model, key, error, part) from error


def _untrusted(key: str, reason: str) -> InputError:
    return InputError(
        Problem(key, f"{reason}.",
                f"Where you trust the code, say so on the command line of this call: {FLAG}.")
    )  # fmt: skip


def _no_model(model: Model, key: str, error: Exception, part: str = "") -> InputError:
    reason = " ".join(str(error).split())[:300].rstrip(".")
    if isinstance(error, SafetensorError):
        reason = f"its safetensors weights are damaged or cut short ({reason})"
    if _is_out_of_memory(error):
        return InputError(
            Problem(key, f"{part}{model.path!r} does not fit into the memory that is free here.",
                    "Free some, or raise the limit; load it in half the size by model.dtype: bfloat16, or in a quarter "
                    "by model.quantization: 4bit.")
        )  # fmt: skip
    remedy = "Check the path; a causal language model needs its config, safetensors weights and tokenizer."
    if not os.path.isdir(model.path):
        remedy = connection_remedy("name a folder with the model.")
    return InputError(Problem(key, f"{part}{model.path!r} cannot be loaded: {reason}.", remedy))


def _no_tokenizer(model: Model, key: str) -> InputError:
    return InputError(
        Problem(key, f"{model.path!r} holds no tokenizer: none of {', '.join(TOKENIZER_FILES)} is there.",
                "Copy the tokenizer's files there from where the model comes.")
    )  # fmt: skip


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: torch, safetensors and the system have their own words for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in text for words in ("can't allocate memory", "cannot allocate memory", "out of memory")
    )


def _with_adapter(model: Model, key: str) -> InputError:
    """Two models have one name: a run would measure the adapted one, with the fingerprint of the other."""
    path = Path(model.path)
    if os.path.isdir(path) and not (path / "config.json").is_file():
        base = read_object(path / ADAPTER, "the configuration of an adapter", ()).get(
            "base_model_name_or_path"
        )
        return InputError(
            Problem(key, f"the folder {model.path!r} holds an adapter and no model; the adapter belongs to the base "
                    f"{base or 'that its configuration does not name'!r}.",
                    "Name the base here, and the adapter under model.adapters (for `expunge eval`, by --adapter).")
        )  # fmt: skip
    return InputError(
        Problem(key, f"{model.path!r} holds an adapter ({ADAPTER}) beside the model, and transformers would add it "
                "while loading.",
                "Move the adapter's files into a folder of their own to use the model alone, and name them under "
                "model.adapters where expunge exported them; or merge the adapter into the model's weights.")
    )  # fmt: skip


def indexed_files(index: Path) -> list[str]:
    """The files that the index of a checkpoint names; none where it is damaged, which loading reports."""
    try:
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({str(file) for file in files})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def refuse_unsafe(model: Model, key: str) -> None:
    """Refuse weights that are there only as pickle, which could run code when it is read, and an index that names
    pickles or files outside the folder. Of a model on the hub nothing is known before it is loaded."""
    path = Path(model.path)
    if not os.path.isdir(path):
        return
    for index in sorted(path.glob("*.safetensors.index.json")):
        for file in indexed_files(index):
            place = os.path.normpath(file)
            if os.path.isabs(place) or place.split(os.sep)[0] == os.pardir:
                raise InputError(
                    Problem(key, f"{index.name} of {model.path!r} names a file outside the folder ({file}).",
                            "Copy weights and index anew from where the model comes.")
                )  # fmt: skip
            if not file.endswith(".safetensors"):
                raise InputError(
                    Problem(key, f"{index.name} of {model.path!r} names {file}, which is no safetensors file: reading "
                            "it could run code.", "Copy weights and index anew from where the model comes.")
                )  # fmt: skip
    pickled = sorted(file.name for file in path.glob("pytorch_model*.bin"))
    if pickled and not any(path.glob("*.safetensors")):
        raise InputError(
            Problem(key, f"the weights of {model.path!r} are pickled ({pickled[0]}), and reading those can run code.",
                    "Where you trust them, load the model by transformers and write it anew by save_pretrained.")
        )  # fmt: skip
