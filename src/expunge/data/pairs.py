"""Forget and retain examples, paired, in an order that the seed fixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from .encoding import Example, collate

Pair = tuple[Example, Example | None]


class PairedDataset(Dataset[Pair]):
    """Forget examples, each with a retain example beside it.

    An item is asked for by (forget index, retain index); `PairSampler` draws both. All randomness lives there, so
    workers, processes and a resumed run see the same pairs.
    """

    def __init__(self, forget: Sequence[Example], retain: Sequence[Example]):
        self.forget = forget
        self.retain = retain

    def __len__(self) -> int:
        return len(self.forget)

    def __getitem__(self, index: tuple[int, int | None]) -> Pair:
        forget, retain = index
        return self.forget[forget], None if retain is None else self.retain[retain]


class PairSampler(Sampler[tuple[int, int | None]]):
    """Each forget example once an epoch, each with a retain example; seeded by (seed, epoch).

    Within an optimiser step (`batch_size` examples) the pairs are sorted by length, so that micro-batches hold
    examples of about one length. The content of a step does not depend on the micro-batch size.
    Over the epochs the retain set is walked through in a shuffled order, so no example comes twice before all have
    come once.
    """

    def __init__(self, dataset: PairedDataset, batch_size: int, seed: int):
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[int, int | None]]:
        forget = _permutation(len(self.dataset.forget), self.seed, self.epoch, "forget")
        pairs = list(zip(forget, self._retain_of_epoch(), strict=True))
        for start in range(0, len(pairs), self.batch_size):
            yield from sorted(pairs[start : start + self.batch_size], key=self._length, reverse=True)

    def _retain_of_epoch(self) -> list[int | None]:
        wanted, available = len(self.dataset.forget), len(self.dataset.retain)
        if available == 0:
            return [None] * wanted
        first = self.epoch * wanted
        positions = range(first, first + wanted)
        rounds = {
            number: _permutation(available, self.seed, number, "retain")
            for number in range(first // available, (first + wanted - 1) // available + 1)
        }
        return [rounds[position // available][position % available] for position in positions]

    def _length(self, pair: tuple[int, int | None]) -> int:
        forget, retain = self.dataset[pair]
        return max(len(forget), len(retain) if retain else 0)


def collate_pairs(pairs: Sequence[Pair], pad_token_id: int) -> dict[str, Tensor]:
    """All forget rows, then all retain rows where there are any, padded to one length: one forward pass serves both.

    Returns `input_ids`, `attention_mask`, `labels`, each (rows, length).
    """
    forget = [forget for forget, _ in pairs]
    retain = [retain for _, retain in pairs if retain is not None]
    return collate([*forget, *retain], pad_token_id)


def _permutation(size: int, seed: int, number: int, purpose: str) -> list[int]:
    generator = torch.Generator().manual_seed(hash_seed(seed, number, purpose))
    return torch.randperm(size, generator=generator).tolist()


def hash_seed(seed: int, number: int, purpose: str) -> int:
    """Independent streams from one seed, the same on every machine."""
    offset = int.from_bytes(purpose.encode(), "big") % 1_000_003
    return (seed * 1_000_003 + number) * 1_000_003 + offset
