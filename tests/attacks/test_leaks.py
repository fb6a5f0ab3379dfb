"""leak@k against the enumeration of all subsets; which texts leak."""

from __future__ import annotations

from itertools import combinations

import pytest

from expunge.attacks.leaks import Leak, leak_at_k


@pytest.mark.parametrize("samples", range(1, 8))
def test_the_estimator_is_the_share_of_all_subsets_with_a_leak(samples: int) -> None:
    for k in range(1, samples + 1):
        wanted = []
        for leaks in range(samples + 1):
            subsets = list(combinations([place < leaks for place in range(samples)], k))
            wanted.append(sum(map(any, subsets)) / len(subsets))
        assert leak_at_k(range(samples + 1), samples, k).tolist() == pytest.approx(wanted, abs=1e-12)


def test_200_samples_do_not_overflow() -> None:
    # C(199, 128) / C(200, 128) = (200 − 128) / 200; 73 leaks leave 127 samples without, fewer than are drawn.
    assert leak_at_k([0, 1, 73, 200], 200, 128).tolist() == pytest.approx([0.0, 128 / 200, 1.0, 1.0])


@pytest.mark.parametrize("k", [0, 9])
def test_no_more_can_be_drawn_than_there_are(k: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 8 samples"):
        leak_at_k([1], 8, k)


def test_a_text_leaks_where_it_has_enough_of_the_answer_in_its_order() -> None:
    truth = "ada wrote five books there"
    texts = [
        "Well: Ada wrote five books there, I think.",  # 5 of 5
        "ada wrote five books",  # 4 of 5: just 0.8
        "five books ada wrote there",  # 3 in order
        "I do not know.",
        "",
    ]
    assert Leak().among(truth, texts) == 2
    assert Leak(recall=0.6).among(truth, texts) == 3
    assert Leak(recall=1.0).among(truth, texts) == 1
