"""Timing in turn, ratios within a repetition, exponents, tables."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pytest
import scaling
import side_by_side
import torch
import workload
from side_by_side import Spread, Variant


def test_variants_are_run_in_turn_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock advances by what each variant takes; the first call warms up and is not counted."""
    now, order = [0.0], []

    def takes(name: str, seconds: float):
        def run() -> None:
            order.append(name)
            now[0] += seconds

        return run

    monkeypatch.setattr(side_by_side, "clock", lambda: ("seconds", lambda: now[0]))
    variants = {"a": Variant(takes("a", 1.0)), "b": Variant(takes("b", 0.5), scale=6.0)}
    assert side_by_side.in_turn(variants, 2) == {"a": [1.0, 1.0], "b": [3.0, 3.0]}
    assert order == ["a", "a", "b", "a", "b"]


def test_what_is_done_once_is_not_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 200 batches in 4 s, and the maps of both sets in 3: 803 s."""
    now = [0.0]
    monkeypatch.setattr(side_by_side, "clock", lambda: ("seconds", lambda: now[0]))

    def takes(seconds: float):
        return lambda: now.__setitem__(0, now[0] + seconds)

    assert side_by_side.in_turn({"a": Variant(takes(4.0), scale=200.0, once=takes(3.0))}, 1) == {"a": [803.0]}


class TestAccelerators:
    """Hidden from what is measured on the CPU, before CUDA has looked what there is."""

    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        found: list[list[str]] = []
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(sys, "orig_argv", ["python", "scaling.py", "--threads", "1"])
        monkeypatch.setattr(os, "execv", lambda program, arguments: found.append([program, *arguments]))
        return found

    def test_the_script_is_started_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.started(monkeypatch)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        side_by_side.on_the_cpu()
        assert found == [[sys.executable, "python", "scaling.py", "--threads", "1"]]
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""

    def test_but_not_again_and_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.started(monkeypatch)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        with pytest.raises(SystemExit, match="cannot hide the mps"):
            side_by_side.on_the_cpu()
        assert found == []

    def test_without_any_nothing_happens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = self.started(monkeypatch)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
        side_by_side.on_the_cpu()
        assert found == []


def test_options_are_offered_where_they_are_used() -> None:
    def options(**settings: Any) -> set[str]:
        return set(vars(side_by_side.parser("", "name", **settings).parse_args([])))

    assert options() == {"output", "threads"}
    assert options(repetitions=2, threads=False) == {"output", "repetitions"}
    assert options(memory=True) == {"output", "threads", "no_memory", "peak_of"}


def test_a_process_of_its_own_has_the_same_work() -> None:
    def parsed(arguments: list[str]) -> Namespace:
        made = ArgumentParser()
        workload.add_workload_options(made)
        return made.parse_args(arguments)

    given = parsed(["--shared", "here", "--model", "wide", "--forget", "forget05", "--samples", "3"])
    again = parsed(workload.workload_arguments(given, 2))
    assert vars(again) == {**vars(given), "samples": 2}


def test_a_ratio_is_formed_within_each_repetition() -> None:
    seconds = {"reference": [10.0, 40.0, 21.0], "ours": [1.0, 2.0, 7.0]}
    assert side_by_side.ratio(seconds, "reference", "ours") == Spread(3.0, 10.0, 20.0)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    sizes = [3, 6, 12, 24]
    assert scaling.fitted_exponent(sizes, [0.7 * size**exponent for size in sizes]) == pytest.approx(
        exponent, abs=1e-9
    )


def test_the_exponent_is_that_of_least_squares() -> None:
    """log₂ costs 0, 1, 1 at log₂ sizes 0, 1, 2: slope Σ(x − 1)(y − 2/3) / 2 = (2/3 + 1/3) / 2."""
    assert scaling.fitted_exponent([1, 2, 4], [1, 2, 2]) == pytest.approx(0.5)


def test_the_table_and_the_file_hold_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"variant": "a", "seconds": Spread(1, 2, 3), "stored bytes": 2_500_000},
        {"variant": "b", "seconds": 0.5},
    ]
    output = tmp_path / "new" / "result.json"
    options = Namespace(output=output, repetitions=2)
    side_by_side.write(options, ["variant", "seconds", "stored bytes"], rows, {"n": 4}, limit=Spread(1, 1, 1))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "| variant | seconds | stored bytes |"
    assert printed[2:4] == ["| a | 2 (1–3) | 2.5 MB |", "| b | 0.5 |  |"]
    written = json.loads(output.read_text())
    assert written["rows"][0] == {
        "variant": "a",
        "seconds": {"low": 1, "median": 2, "high": 3},
        "stored bytes": 2500000,
    }
    assert written["workload"] == {"n": 4}
    assert written["limit"]["median"] == 1
    assert {"machine", "versions", "clock", "command", "load"} <= written.keys()


def test_operations_grow_as_they_must() -> None:
    """Of one product (n × d)(d × d): linear in n, quadratic in d."""

    def product(n: int, d: int) -> float:
        return scaling.operations(lambda: torch.ones(n, d) @ torch.ones(d, d))

    assert product(2, 8) == 2 * 2 * 8 * 8
    assert scaling.fitted_exponent([1, 2, 4], [product(n, 8) for n in (1, 2, 4)]) == pytest.approx(1)
    assert scaling.fitted_exponent([4, 8, 16], [product(2, d) for d in (4, 8, 16)]) == pytest.approx(2)
