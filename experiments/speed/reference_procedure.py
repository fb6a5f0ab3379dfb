"""The procedure that the papers' research code follows, step by step: what the speed benchmarks compare against.

Written from the description in the project's methods page (§2 `official`) and from what is known of its costs; it is
meant to be recognisable, not quick. What makes it slow, on purpose:

- every sequence is padded to 500 tokens and passes the model whole, all 500 positions through the output embedding;
- importance takes one gradient a *batch* of 4 (weighted by its label tokens), in train mode, over 10 passes;
- VILA's is measured on the model with a random LoRA pair (σ = 0.05) added to it; FILA's forms every weight gradient;
- after every batch each statistic travels to the host and is added up there;
- training keeps a deep copy of the model as oracle, runs forget and retain apart, and writes the inverted hinge loss
  with a softmax over all positions and a one-hot matrix.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid, one_hot, softmax

from expunge.data.encoding import Example, collate
from expunge.models.answers import IGNORED
from expunge.models.linear import linear_layers

LENGTH = 500
#: Sequences a batch while importance is measured, and passes over the data of each public code.
BATCH_SIZE = 4
PASSES = {"vila": 10, "fila": 10, "fila_loku": 1}
STANDARD_DEVIATION = 0.05
EPSILON = 1e-5

Batch = dict[str, Tensor]
Statistics = dict[str, dict[str, Tensor]]


def padded_batches(
    examples: Sequence[Example], batch_size: int = BATCH_SIZE, length: int = LENGTH
) -> list[Batch]:
    """Batches in the order given, each (batch, `length`)."""
    filler = Example([0] * length, [IGNORED] * length)
    found = []
    for start in range(0, len(examples), batch_size):
        batch = collate([*examples[start : start + batch_size], filler], pad_token_id=0)
        found.append({name: value[:-1] for name, value in batch.items()})
    return found


def perturbed_model(model: Any, rank: int = 8, scaling: float = 2.0, seed: int = 0) -> PeftModel:
    """`model` with a LoRA pair A, B ~ N(0, 0.05²) on every linear layer; only the pairs ask for gradients."""
    config = LoraConfig(
        r=rank, lora_alpha=scaling * rank, target_modules=sorted(linear_layers(model)), bias="none"
    )
    wrapped = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(STANDARD_DEVIATION * torch.randn(parameter.shape, generator=generator))
    return wrapped


@dataclass
class Accumulated:
    """Sums over batches of n·g and n·g² on the host, g the gradient of a batch's mean loss and n its label tokens.

    parameters: {name: what g is taken of}; means: n·g is summed as well as n·g²
    sums: {name: {"square", "mean"}}; count: label tokens
    """

    model: Any
    parameters: dict[str, nn.Parameter]
    means: bool
    sums: Statistics = field(default_factory=dict)
    count: int = 0

    @classmethod
    def of_vila(cls, model: PeftModel) -> Accumulated:
        return cls(model, {name: p for name, p in model.named_parameters() if "lora_" in name}, means=True)

    @classmethod
    def of_fila(cls, model: Any) -> Accumulated:
        """Nothing is frozen: the model is as it was loaded, so the embeddings get their gradients as well."""
        layers = linear_layers(model.requires_grad_(True))
        return cls(model, {name: layer.weight for name, layer in layers.items()}, means=False)

    def add(self, data: Sequence[Batch]) -> None:
        """One pass over these batches."""
        self.model.train()
        device = next(self.model.parameters()).device
        for batch in data:
            self.model.zero_grad()
            moved = {name: value.to(device) for name, value in batch.items()}
            self.model(**moved).loss.backward()
            count = int((batch["labels"][:, 1:] != IGNORED).sum())
            self.count += count
            for name, parameter in self.parameters.items():
                assert parameter.grad is not None
                gradient, sums = parameter.grad.detach(), self.sums.setdefault(name, {})
                _add(sums, "square", (count * gradient.square()).to("cpu", copy=True))
                if self.means:
                    _add(sums, "mean", (count * gradient).to("cpu", copy=True))


def vila_map(found: Accumulated) -> dict[str, Tensor]:
    """{layer name: Var(B)·Var(A) / count}, (d_out, d_in): divided by the count once more, as in the public code."""
    variances = {
        name: (sums["square"] / found.count - (sums["mean"] / found.count).square()).clamp(min=0.0)
        for name, sums in found.sums.items()
    }
    return {
        name.removeprefix("base_model.model.").removesuffix(".lora_B.default.weight"): of_B
        @ variances[name.replace("lora_B", "lora_A")]
        / found.count
        for name, of_B in variances.items()
        if "lora_B" in name
    }


def fila_map(found: Accumulated) -> dict[str, Tensor]:
    """{layer name: mean square of the batch gradients}, (d_out, d_in)."""
    return {name: sums["square"] / found.count for name, sums in found.sums.items()}


def row_importance(forget: dict[str, Tensor], retain: dict[str, Tensor]) -> dict[str, Tensor]:
    """d of every layer from both maps, with an absolute ε."""
    return {name: (of_forget / (retain[name] + EPSILON)).sum(1).sqrt() for name, of_forget in forget.items()}


@dataclass
class ReferenceTrainer:
    """One optimiser over a plain LoRA, with a deep copy of the model as oracle.

    objective: ihl, npo or gd; each with the retain set's NLL
    """

    model: PeftModel
    oracle: Any
    objective: str
    learning_rate: float = 1e-4
    beta: float = 0.1

    @classmethod
    def prepare(cls, model: Any, objective: str, rank: int = 8) -> ReferenceTrainer:
        oracle = copy.deepcopy(model).eval()
        config = LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=sorted(linear_layers(model)), bias="none"
        )
        return cls(get_peft_model(model, config).train(), oracle, objective)

    def __post_init__(self) -> None:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=0.01)

    def step(self, pairs: Sequence[tuple[Batch, Batch]]) -> float:
        """One optimiser step over micro-batches of (forget, retain), each padded to 500. Returns the loss."""
        total = 0.0
        for forget, retain in pairs:
            loss = (self._forget_loss(forget) + self.model(**retain).loss) / len(pairs)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def _forget_loss(self, batch: Batch) -> Tensor:
        if self.objective == "gd":
            return -self.model(**batch).loss
        logits, labels = self.model(**batch).logits[:, :-1], batch["labels"][:, 1:]
        if self.objective == "ihl":
            return one_hot_hinge(logits, labels)
        with torch.no_grad():
            before = _sequence_loss(self.oracle(**batch).logits[:, :-1], labels)
        gain = _sequence_loss(logits, labels) - before
        return -2.0 / self.beta * logsigmoid(self.beta * gain).mean()


def one_hot_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """mean over label tokens of 1 + p(x_t) − max_{v≠x_t} p(v), over every position of (batch, length, V)."""
    probabilities = softmax(logits, dim=-1)
    counted = labels != IGNORED
    true = one_hot(labels.clamp(min=0), logits.shape[-1])
    of_true = (probabilities * true).sum(-1)
    best_other = (probabilities * (1 - true)).max(-1).values
    return ((1 + of_true - best_other) * counted).sum() / counted.sum()


def _sequence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    flat = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return flat.sum(1)


def _add(sums: dict[str, Tensor], key: str, value: Tensor) -> None:
    sums[key] = sums[key] + value if key in sums else value


def answer_loss(model: Any, data: Sequence[Batch]) -> list[float]:
    """Summed NLL of every answer, through full logits of sequences padded to 500."""
    losses: list[float] = []
    with torch.no_grad():
        for batch in data:
            logits = model(**batch).logits[:, :-1]
            losses += _sequence_loss(logits, batch["labels"][:, 1:]).tolist()
    return losses


def greedy_answers(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, end: int
) -> list[list[int]]:
    """Continuations in batches of 4 as they come, each until its slowest row has ended."""
    answers: list[list[int]] = []
    with torch.no_grad():
        for start in range(0, len(prompts), BATCH_SIZE):
            rows = prompts[start : start + BATCH_SIZE]
            longest = max(len(row) for row in rows)
            ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
            mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            found = model.generate(
                input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens,
                eos_token_id=end, pad_token_id=0,
            )  # fmt: skip
            answers += found[:, longest:].tolist()
    return answers
