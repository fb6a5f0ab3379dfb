"""The order of pairs: fixed by seed and epoch, the same steps for any micro-batch size."""

from __future__ import annotations

from collections import Counter

from expunge.data.encoding import Example
from expunge.data.pairs import PairedDataset, PairSampler, collate_pairs


def example(length: int, token: int = 3) -> Example:
    return Example([token] * length, [-100] + [token] * (length - 1))


FORGET = [example(3 + index % 7, token=index) for index in range(20)]
RETAIN = [example(2 + index % 5, token=index) for index in range(30)]


def epochs(seed: int, count: int, retain: list[Example] = RETAIN, step: int = 8) -> list[list[tuple]]:
    sampler = PairSampler(PairedDataset(FORGET, retain), step, seed)
    found = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    return found


def test_every_forget_example_once_an_epoch_and_another_order_in_each() -> None:
    first, second = epochs(1, 2)
    assert sorted(forget for forget, _ in first) == list(range(20))
    assert sorted(forget for forget, _ in second) == list(range(20))
    assert first != second
    assert epochs(1, 2) == [first, second]
    assert epochs(2, 1) != [first]


def test_no_retain_example_comes_twice_before_all_have_come_once() -> None:
    drawn = [retain for epoch in epochs(1, 3) for _, retain in epoch]
    assert len(drawn) == 60
    assert set(Counter(drawn).values()) == {2}
    assert len(set(drawn[:20])) == 20
    few = [retain for epoch in epochs(1, 1, RETAIN[:3]) for _, retain in epoch]
    assert sorted(Counter(few).values()) == [6, 7, 7]


def test_pairs_are_sorted_by_length_within_a_step_and_steps_do_not_mix() -> None:
    dataset = PairedDataset(FORGET, RETAIN)
    (pairs,) = epochs(1, 1)
    unsorted = PairSampler(dataset, 1, 1)
    in_order = list(unsorted)
    for start in range(0, 20, 8):
        step, content = pairs[start : start + 8], in_order[start : start + 8]
        for side, examples in enumerate((FORGET, RETAIN)):
            lengths = [len(examples[pair[side]]) for pair in step]
            assert lengths == sorted(lengths, reverse=True)
            assert {pair[side] for pair in step} == {pair[side] for pair in content}


def test_a_forget_example_is_as_long_as_its_substitute() -> None:
    """The short forget example has a long refusal beside it, so it comes first and meets the longest retain example."""
    dataset = PairedDataset(
        [example(5), example(3)], [example(4), example(6)], substitutes=[example(2), example(9)]
    )
    assert list(PairSampler(dataset, 2, seed=0)) == [(1, 1), (0, 0)]


def test_without_a_retain_set_there_are_forget_rows_alone() -> None:
    dataset = PairedDataset(FORGET, [])
    (pairs,) = epochs(1, 1, [])
    assert all(retain is None for _, retain in pairs)
    batch = collate_pairs([dataset[pair] for pair in pairs[:4]], pad_token_id=0)
    assert len(batch["labels"]) == 4


def test_forget_rows_come_first() -> None:
    batch = collate_pairs([(example(3, 7), example(2, 8)), (example(2, 9), example(4, 6))], pad_token_id=0)
    assert batch["input_ids"].tolist() == [[7, 7, 7, 0], [9, 9, 0, 0], [8, 8, 0, 0], [6, 6, 6, 6]]


def test_an_epoch_is_filled_up_with_pairs_of_which_nothing_counts() -> None:
    dataset = PairedDataset(FORGET, RETAIN)
    sampler = PairSampler(dataset, 8, seed=1, multiple=6)
    pairs = list(sampler)
    assert len(pairs) == len(sampler) == 24
    assert pairs[:20] == epochs(1, 1)[0]
    assert pairs[20:] == [(None, None)] * 4
    batch = collate_pairs([dataset[pair] for pair in pairs[18:22]], pad_token_id=0)
    assert len(batch["labels"]) == 8
    assert (batch["labels"][[2, 3, 6, 7]] == -100).all()


def test_any_seed_will_do() -> None:
    assert sorted(forget for forget, _ in epochs(2**32 - 1, 1)[0]) == list(range(20))
