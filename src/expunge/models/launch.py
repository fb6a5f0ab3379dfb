"""What `accelerate launch` asked for, read from its environment variables. Nothing here loads torch."""

from __future__ import annotations

import functools
import os

from ..errors import InputError, Problem

_FSDP = "ACCELERATE_USE_FSDP"
_WAY_OUT = "Shard the base by FSDP2 (examples/accelerate/fsdp2.yaml), or launch plain data parallelism."

#: The variables of what is not supported, a value with which they ask for it, what it is, and the way out.
_REFUSED = [
    ("ACCELERATE_USE_DEEPSPEED", "true", "DeepSpeed is not supported", _WAY_OUT),
    ("ACCELERATE_USE_MEGATRON_LM", "true", "Megatron-LM is not supported", _WAY_OUT),
]
_REFUSED_OF_FSDP = [
    ("FSDP_VERSION", "1", "FSDP1 is not supported", "Set fsdp_version: 2 in accelerate's configuration."),
    ("FSDP_OFFLOAD_PARAMS", "true", "weights that FSDP keeps on the CPU are not supported",
     "Set fsdp_offload_params: false."),
    ("FSDP_ACTIVATION_CHECKPOINTING", "true", "what is recomputed is for the recipe to say",
     "Set training.activation_checkpointing: true, and fsdp_activation_checkpointing: false."),
]  # fmt: skip
#: Ways to divide a model that accelerate offers beside FSDP2, by the variable that says among how many processes.
_DIVIDED = ("TP_SIZE", "CP_SIZE", "SP_SIZE", "DP_REPLICATE_SIZE")


def check_launch() -> None:
    """Raise `InputError`, with every problem, where accelerate was asked for what is not supported."""
    refused = _REFUSED + (_REFUSED_OF_FSDP if shards_base() else [])
    problems = [
        Problem("accelerate launch", f"{what} ({variable}={value}).", remedy)
        for variable, value, what, remedy in refused
        if os.environ.get(variable, "").lower() == value
    ]
    for name in _DIVIDED:
        variable = f"PARALLELISM_CONFIG_{name}"
        if os.environ.get(variable, "1") not in ("", "1"):
            problems.append(
                Problem("accelerate launch", f"{variable}={os.environ[variable]} is not supported.", _WAY_OUT)
            )
    if problems:
        raise InputError(problems)


@functools.cache
def shards_base() -> bool:
    """Whether the weights of the base are to be spread over the processes: accelerate was asked for FSDP.

    The variable is taken out of the environment. accelerate and the Trainer would shard the adapters too, once training
    starts; here the base is sharded when it is loaded, and the adapters never are.
    """
    return os.environ.pop(_FSDP, "").lower() in ("1", "true", "yes")
