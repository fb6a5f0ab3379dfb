"""What 8, 70 and 405 billion parameters need: predictions of the cost model, nothing is measured.

    python experiments/speed/large_models.py

Llama-3.1's shapes; forget10 of TOFU's size (400 forget samples and as many retain samples of about 64 tokens, 42 of
them the answer), rank 8 on all linear layers, `factored`, five epochs of ihl in micro-batches of one pair. Passes are
counted without content; seconds divide them by the speed of one GPU that is *assumed*: half of an H200's data sheet in
bf16 products and 0.8 of its memory bandwidth for kernels alone, of which a model reaches the shares fitted on a CPU.
Memory needs no assumption but that nothing is wasted. Text as MUSE has it, two rows of 2,048 tokens all of which are
labels, is counted beside it, with its activations kept and recomputed (`training.activation_checkpointing`).
With n GPUs FSDP2 keeps 1/n of the weights on each, and gathers a block while the one before it computes. A 4-bit base
is not sharded, so it has to fit one GPU.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from side_by_side import parser, write
from transformers import LlamaConfig

from expunge.cost.device_speed import DeviceSpeed
from expunge.cost.model import adapter_bytes, weight_bytes
from expunge.cost.passes import Passes
from expunge.cost.shallow_models import ShallowModels, Shape
from expunge.models.linear import linear_layers, matrix_shape

SHAPES = {
    "8B": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "70B": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
    },
    "405B": {
        "hidden_size": 16384,
        "intermediate_size": 53248,
        "num_hidden_layers": 126,
        "num_attention_heads": 128,
    },
}
COMMON = {"num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False}
RANK, SAMPLES, EPOCHS = 8, 400, 5
#: Rows, padded tokens, label tokens: a batch of extraction, and a micro-batch of one pair.
EXTRACTION, TRAINING, TEXT = Shape(4, 66, 42), Shape(2, 80, 42), Shape(2, 2048, 2047)
#: Of an H200's data sheet: 989 Tflop/s in bf16, 4.8 TB/s. Launches overlap with work on a GPU.
ASSUMED = DeviceSpeed(flops=0.5 * 989e12, bytes=0.8 * 4.8e12, kernel=1e-6)
#: Bytes of one GPU that are used: 0.9 of an H100's 80 GB and of an H200's 141 GB.
CARDS = {"80 GB": 0.9 * 80e9, "141 GB": 0.9 * 141e9}
COLUMNS = ["model", "base", "weights GB", "adapter and optimiser GB", "extraction GB", "training GB",
           "text GB", "text, recomputed GB", "80 GB cards", "141 GB cards", "extraction s", "training s"]  # fmt: skip


def predicted(name: str, base: str) -> dict[str, Any]:
    """One row: a model with its base in bf16 or in 4 bits."""
    config = LlamaConfig(**SHAPES[name], **COMMON)
    models = ShallowModels(config, torch.bfloat16, RANK, mixed=True)
    passes, model = Passes(models), models.plain(config.num_hidden_layers)
    weights = weight_bytes(model, torch.bfloat16, "4bit" if base == "4 bit" else None)
    layers = [matrix_shape(module) for module in linear_layers(model).values()]
    adapter = adapter_bytes(RANK * sum(d_out + d_in for d_out, d_in in layers), trained=True)
    statistics = 2.0 * sum(passes.accumulated("factored", *layer) for layer in layers)
    block = 2.0 * sum(d_out * d_in for d_out, d_in in layers) / config.num_hidden_layers
    gathered = math.inf if base == "4 bit" else 2 * block
    extraction = passes.measured(EXTRACTION, "factored")
    training = passes.trained(TRAINING)
    needs = {"extraction": extraction.peak + statistics, "training": training.peak + adapter}
    return {
        "model": name,
        "base": base,
        "weights GB": weights / 1e9,
        "adapter and optimiser GB": adapter / 1e9,
        "extraction GB": needs["extraction"] / 1e9,
        "training GB": needs["training"] / 1e9,
        "text GB": (passes.trained(TEXT).peak + adapter) / 1e9,
        "text, recomputed GB": (passes.trained(TEXT, recomputed=True).peak + adapter) / 1e9,
        **{
            f"{card} cards": cards(weights, max(needs.values()), gathered, room)
            for card, room in CARDS.items()
        },
        "extraction s": ASSUMED.seconds(extraction) * 2 * SAMPLES / EXTRACTION.rows,
        "training s": ASSUMED.seconds(training) * EPOCHS * 2 * SAMPLES / TRAINING.rows,
    }


def cards(weights: float, needs: float, gathered: float, room: float) -> int | None:
    """GPUs until a share of the weights, two gathered blocks and what a pass needs fit into `room`; None: never."""
    if weights + needs <= room:
        return 1
    left = room - needs - gathered
    return math.ceil(weights / left) if left > 0 else None


def main() -> None:
    options = parser(__doc__, "large_models", threads=False).parse_args()
    rows = [predicted(name, base) for name in SHAPES for base in ("bf16", "4 bit")]
    write(options, COLUMNS, rows, {"samples": SAMPLES, "epochs": EPOCHS, "rank": RANK, "predicted": True})


if __name__ == "__main__":
    main()
