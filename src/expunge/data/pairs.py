"""Forget and retain examples, paired, in an order that the seed fixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..models.answers import IGNORED
from .encoding import Example, collate

#: A forget example, the retain example beside it, and another answer to the forget example's question.
Pair = tuple[Example, Example | None, Example | None]
Index = tuple[int | None, int | None]

#: Fills up the last batches of an epoch where several processes need equally many; none of its tokens counts.
EMPTY = Example([0], [IGNORED])


class PairedDataset(Dataset[Pair]):
    """Forget examples with retain examples beside them.

    substitutes: other answers to the forget examples' questions, in their order; none where no loss uses them
    An item is asked for by (forget index, retain index); `PairSampler` draws both. All randomness lives there, so
    workers, processes and a resumed run see the same pairs. (None, None) asks for a pair of which nothing counts.
    """

    def __init__(
        self, forget: Sequence[Example], retain: Sequence[Example], substitutes: Sequence[Example] = ()
    ):
        self.forget = forget
        self.retain = retain
        self.substitutes = substitutes

    @property
    def parts(self) -> int:
        """Rows of a batch per pair."""
        return 1 + bool(self.retain) + bool(self.substitutes)

    def __len__(self) -> int:
        return len(self.forget)

    def __getitem__(self, index: Index) -> Pair:
        forget, retain = index
        if forget is None:
            return EMPTY, EMPTY if self.retain else None, EMPTY if self.substitutes else None
        return (
            self.forget[forget],
            None if retain is None else self.retain[retain],
            self.substitutes[forget] if self.substitutes else None,
        )


class PairSampler(Sampler[Index]):
    """Every forget example once an epoch, with a retain example beside it; seeded by (seed, epoch).

    Within an optimiser step (`batch_size` examples) forget and retain examples are sorted by length, separately, and
    paired in this order, so that micro-batches hold examples of about one length. The content of a step does not depend
    on the micro-batch size, nor on which of its examples are beside each other.
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
        """accelerate calls it before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.multiple) * self.multiple

    def __iter__(self) -> Iterator[Index]:
        forget = _permutation(len(self.dataset.forget), self.seed, self.epoch, "forget")
        pairs = list(zip(forget, self._retain_of_epoch(), strict=True))
        for start in range(0, len(pairs), self.batch_size):
            yield from self._longest_first(pairs[start : start + self.batch_size])
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

    def _longest_first(self, step: Sequence[Index]) -> Iterator[Index]:
        forget = sorted(
            (index for index, _ in step), key=lambda index: self._length(index, None), reverse=True
        )
        retain = sorted(
            (index for _, index in step), key=lambda index: self._length(None, index), reverse=True
        )
        return zip(forget, retain, strict=True)

    def _length(self, forget: int | None, retain: int | None) -> int:
        """Length of a forget example, its substitute included, or of a retain example; 0 of neither."""
        if forget is not None:
            of_forget, _, substitute = self.dataset[forget, None]
            return max(len(of_forget), len(substitute) if substitute else 0)
        return 0 if retain is None else len(self.dataset.retain[retain])


def collate_pairs(pairs: Sequence[Pair], pad_token_id: int) -> dict[str, Tensor]:
    """All forget rows, then the retain rows and the substitutes where there are any, padded to one length.

    One forward pass serves all of them.

    Returns `input_ids`, `attention_mask`, `labels`, all (rows, length).
    """
    sides = zip(*pairs, strict=True)
    return collate([example for side in sides for example in side if example is not None], pad_token_id)


def _permutation(size: int, seed: int, number: int, purpose: str) -> list[int]:
    """A shuffled order: independent streams from one seed, the same on every machine."""
    offset = int.from_bytes(purpose.encode(), "big") % 1_000_003
    stream = ((seed * 1_000_003 + number) * 1_000_003 + offset) % 2**63
    return torch.randperm(size, generator=torch.Generator().manual_seed(stream)).tolist()
