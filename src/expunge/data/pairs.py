"""Forget and retain examples, paired, in an order that the seed fixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from .encoding import IGNORED, Example, collate

Pair = tuple[Example, Example | None]
Index = tuple[int | None, int | None]

#: Fills up the last batches of an epoch where several processes need equally many: nothing of it counts.
EMPTY = Example([0], [IGNORED])


class PairedDataset(Dataset[Pair]):
    """Forget examples, each with a retain example beside it.

    An item is asked for by (forget index, retain index); `PairSampler` draws both. All randomness lives there, so
    workers, processes and a resumed run see the same pairs. (None, None) asks for a pair of which nothing counts.
    """

    def __init__(self, forget: Sequence[Example], retain: Sequence[Example]):
        self.forget = forget
        self.retain = retain

    def __len__(self) -> int:
        return len(self.forget)

    def __getitem__(self, index: Index) -> Pair:
        forget, retain = index
        if forget is None:
            return EMPTY, EMPTY if self.retain else None
        return self.forget[forget], None if retain is None else self.retain[retain]


class PairSampler(Sampler[Index]):
    """Each forget example once an epoch, each with a retain example; seeded by (seed, epoch).

    Within an optimiser step (`batch_size` examples) the pairs are sorted by length, so that micro-batches hold
    examples of about one length. The content of a step does not depend on the micro-batch size.
    The epoch is filled up with empty pairs to a multiple of `multiple`: the forget examples of one forward pass on
    all processes. Otherwise accelerate would repeat examples from its beginning.
    Over the epochs the retain set is walked through in a shuffled order, so no example comes twice before all have
    come once.
    """

    def __init__(self, dataset: PairedDataset, batch_size: int, seed: int, multiple: int = 1):
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.multiple = multiple
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.multiple) * self.multiple

    def __iter__(self) -> Iterator[Index]:
        forget = _permutation(len(self.dataset.forget), self.seed, self.epoch, "forget")
        pairs = list(zip(forget, self._retain_of_epoch(), strict=True))
        for start in range(0, len(pairs), self.batch_size):
            yield from sorted(pairs[start : start + self.batch_size], key=self._length, reverse=True)
        yield from [(None, None)] * (len(self) - len(pairs))

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

    def _length(self, pair: Index) -> int:
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
    """A shuffled order: independent streams from one seed, the same on every machine."""
    offset = int.from_bytes(purpose.encode(), "big") % 1_000_003
    stream = ((seed * 1_000_003 + number) * 1_000_003 + offset) % 2**63
    return torch.randperm(size, generator=torch.Generator().manual_seed(stream)).tolist()
