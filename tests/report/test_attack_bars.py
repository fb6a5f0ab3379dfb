"""The picture of the attacks: a bar each, the worst first, beside a mark for a model that never knew."""

from __future__ import annotations

import re

import pytest

from expunge.folder.state import AttackFacts
from expunge.report.attack_bars import attack_bars
from synthetic_attacks import attacks


def drawn(facts: AttackFacts) -> tuple[str, str]:
    """The picture, and what it says to those who do not see it."""
    svg = attack_bars(facts)
    assert svg is not None
    label = re.search(r'aria-label="([^"]*)"', svg)
    assert label is not None
    assert svg == attack_bars(facts)  # the same bytes
    return str(svg), label[1]


def widths(svg: str) -> list[float]:
    """Of the bars, in the order in which they are drawn: paths of four corners, the third at the bar's end."""
    corners = re.findall(
        r'<path d="M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \nL \2 [\d.]+ \nL \1 [\d.]+ \nz', svg
    )
    return [float(right) - float(left) for left, right in corners]


def test_the_worst_is_first_and_a_bar_is_as_long_as_what_came_back() -> None:
    svg, label = drawn(attacks(merge=0.1, quantise=0.4, compose=-0.02))
    assert label == (
        "Share of the lost knowledge that each attack brought back: quantise 40.0 %; merge 10.0 %; compose 0.0 %; "
        "remove 100.0 %."
    )
    bars = widths(svg)[:4]  # what follows lies behind words
    whole = bars[-1]  # what takes the model from before comes last, and brings back all
    assert [width / whole for width in bars] == pytest.approx([0.4, 0.1, 0.0, 1.0], abs=1e-3)
    assert "too much: 10%" in svg
    assert "never saw the data" in svg
    assert "≤" not in svg


def test_where_a_holdout_stands_in_a_share_is_a_bound() -> None:
    svg, _ = drawn(attacks(ground="holdout", merge=0.4))
    assert "≤ 40" in svg
    assert "text that it never saw" in svg
    assert "never saw the data" not in svg


def test_there_is_no_picture_without_a_share() -> None:
    assert attack_bars(None) is None
    assert attack_bars(attacks(ground="none")) is None
    assert attack_bars(attacks(merge=None).model_copy(update={"outcomes": {}})) is None
