"""What the speed benchmarks run on: TOFU's texts and a random Llama of about 25 M parameters.

Speed does not depend on what the weights are, so they are drawn; it does depend on the lengths of the texts, so these
are real. Two models, because the share of the vocabulary decides how much full logits cost:

    narrow   512 wide, 8 layers, 4,096 tokens: the output embedding is 8 % of the model, as in Phi-1.5
    wide     384 wide, 8 layers, 32,000 tokens (Llama-2's vocabulary): it is 47 %
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from expunge.benchmarks.tofu.settings import TofuData
from expunge.data.batching import least_padding
from expunge.data.encoding import Encoder, Example, collate
from expunge.data.sets import load_data

SHAPES: dict[str, dict[str, int]] = {
    "narrow": {
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "vocab_size": 4096,
    },
    "wide": {
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 8,
        "num_attention_heads": 6,
        "vocab_size": 32000,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 4096,
    },
}
#: Samples in one forward pass of our own phases: `importance.batch_size` and `training.micro_batch_size`.
BATCH = 8


@dataclass(frozen=True)
class Workload:
    """Texts, encoded, and the shape of the model that reads them."""

    shape: str
    encoder: Encoder
    forget: list[Example]
    retain: list[Example]

    def model(self, **changes: int) -> Any:
        """The random model, the same at every call, in eval mode on the CPU."""
        return random_llama({**SHAPES[self.shape], **changes})

    def describe(self) -> dict[str, Any]:
        """What a result says about its inputs."""
        model = self.model()
        return {
            "model": {**SHAPES[self.shape], "parameters": sum(p.numel() for p in model.parameters())},
            "forget": _describe(self.forget),
            "retain": _describe(self.retain),
        }


def random_llama(shape: dict[str, int], dtype: torch.dtype = torch.float32) -> Any:
    """A Llama with tied embeddings and seeded random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            **shape, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=0
        )
        return LlamaForCausalLM(config).to(dtype).eval()


def load_workload(options: argparse.Namespace) -> Workload:
    """The forget split and as many retain samples, as a run measures importance on."""
    data = TofuData(format="tofu", path=str(options.shared / "data" / "tofu"), forget=options.forget)
    tokenizer = AutoTokenizer.from_pretrained(options.shared / "models" / "tofu-tiny" / "full")
    encoder = Encoder(tokenizer)
    loaded = load_data(data, True)
    assert loaded.retain is not None
    forget = loaded.forget.encode(encoder)[: options.samples]
    retain = random.Random(0).sample(loaded.retain.encode(encoder), len(forget))
    return Workload(options.model, encoder, forget, retain)


def add_workload_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with TOFU's files")
    parser.add_argument("--model", choices=sorted(SHAPES), default="narrow")
    parser.add_argument("--forget", default="forget01", help="forget01, forget05 or forget10")
    parser.add_argument("--samples", type=int, default=None, help="at most this many of each set")


def workload_arguments(options: argparse.Namespace, samples: int) -> list[str]:
    """The same options for a process of its own, with at most so many samples."""
    return ["--shared", str(options.shared), "--model", options.model, "--forget", options.forget,
            "--samples", str(samples)]  # fmt: skip


def batches(examples: Sequence[Example], batch_size: int = BATCH) -> list[dict[str, torch.Tensor]]:
    """Batches as a run makes them: of like length, padded to their longest."""
    cuts = least_padding([len(example) for example in examples], batch_size)
    return [collate([examples[index] for index in cut], 0) for cut in cuts]


def _describe(examples: Sequence[Example]) -> dict[str, float]:
    return {
        "samples": len(examples),
        "tokens": sum(len(example) for example in examples),
        "answer_tokens": sum(example.label_count for example in examples),
        "longest": max(len(example) for example in examples),
    }
