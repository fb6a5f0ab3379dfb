"""Measuring variants in turn, so that the noise of a shared machine hits all of them, and writing what came out.

A repetition runs every variant once: A B C, A B C, … A ratio is formed within each repetition, and its spread over
the repetitions is reported. Peak memory is measured apart, each variant in a process of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from expunge.folder.machine import machine, versions

#: Side of the square matrices whose product gives the machine's peak, and how often it is formed in a measurement.
PEAK_SIDE, PEAK_PRODUCTS = 1024, 8


@dataclass(frozen=True)
class Variant:
    """Something to be timed.

    scale: what its time is multiplied by where only a part of the work is done (batches or passes left out)
    note:  says so, in the table and in the JSON
    once:  what follows the whole work once, however much of it was left out; its time is added as it is
    """

    run: Callable[[], Any]
    scale: float = 1.0
    note: str = ""
    once: Callable[[], Any] | None = None

    def seconds(self, timed: Callable[[Callable[[], Any]], float]) -> float:
        """Of the whole work, by what `timed` says of its parts."""
        return timed(self.run) * self.scale + (timed(self.once) if self.once else 0.0)


@dataclass(frozen=True)
class Spread:
    """Of a figure over the repetitions."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


def clock() -> tuple[str, Callable[[], float]]:
    """CPU seconds of this process on one thread, where other jobs cannot lengthen them by waiting; else wall time."""
    if torch.get_num_threads() == 1 and not torch.cuda.is_available():
        return "CPU seconds of one thread", time.process_time
    return "wall seconds", _synchronised


def in_turn(variants: Mapping[str, Variant], repetitions: int) -> dict[str, list[float]]:
    """{name: scaled seconds of each repetition}, after one unmeasured call of the first variant."""
    _, now = clock()

    def timed(run: Callable[[], Any]) -> float:
        started = now()
        run()
        return now() - started

    next(iter(variants.values())).run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for repetition in range(repetitions):
        for name, variant in variants.items():
            seconds[name].append(variant.seconds(timed))
            print(f"  {repetition + 1}/{repetitions} {name}: {seconds[name][-1]:.3g} s", file=sys.stderr)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], of: str, to: str) -> Spread:
    """How many times `to`'s time `of` takes, formed within each repetition."""
    return Spread.of([a / b for a, b in zip(seconds[of], seconds[to], strict=True)])


def matmul_peak() -> Variant:
    """A product of square fp32 matrices: `PEAK_FLOPS` operations."""
    a, b = torch.randn(2, PEAK_SIDE, PEAK_SIDE)

    def multiply() -> None:
        for _ in range(PEAK_PRODUCTS):
            a @ b

    return Variant(multiply)


PEAK_FLOPS = 2.0 * PEAK_SIDE**3 * PEAK_PRODUCTS


def peak_memory(script: str, arguments: Sequence[str], variant: str) -> int:
    """Peak resident bytes of one variant in a process of its own, above what Python and its libraries take.

    The script is called with `--peak-of VARIANT` and must then call `report_peak`.
    """
    command = [sys.executable, script, *arguments, "--peak-of", variant]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
    return int(json.loads(output.splitlines()[-1])["bytes"])


def report_peak(prepare: Callable[[], Variant]) -> None:
    """In the process that `peak_memory` started: run, and print the peak above what was resident before."""
    before = _status("VmRSS")
    prepared = prepare()
    prepared.run()
    if prepared.once:
        prepared.once()
    print(json.dumps({"bytes": _status("VmHWM") - before}))


def on_the_cpu() -> None:
    """Start this script anew without accelerators where there are any; call it before anything is measured.

    The package would use them, and what it is compared with would stay on the CPU. CUDA looks only once at what it is
    allowed to see, which may have been while modules were imported.
    """
    if not torch.accelerator.is_available():
        return
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        raise SystemExit(
            f"This measures on the CPU, and cannot hide the {torch.accelerator.current_accelerator()}."
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.execv(sys.executable, sys.orig_argv)


def parser(
    description: str | None,
    name: str,
    *,
    repetitions: int | None = None,
    threads: bool = True,
    memory: bool = False,
) -> argparse.ArgumentParser:
    """The options of a benchmark, each only where it is used.

    repetitions: by default so many; None where nothing is repeated
    memory: of variants in processes of their own (`peak_memory`)
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--output", type=Path, default=Path("runs") / "benchmarks" / f"{name}.json")
    if repetitions is not None:
        made.add_argument("--repetitions", type=int, default=repetitions)
    if threads:
        made.add_argument("--threads", type=int, default=1)
    if memory:
        made.add_argument(
            "--no-memory", action="store_true", help="leave out the peak memory (a process a variant)"
        )
        made.add_argument("--peak-of", help=argparse.SUPPRESS)
    return made


def write(options: argparse.Namespace, columns: Sequence[str], rows: Sequence[Mapping[str, Any]],
          workload: Mapping[str, Any], **more: Any) -> None:  # fmt: skip
    """Print the table, and write it with everything that it depends on as JSON."""
    print(table(columns, rows))
    save(options, rows, workload, **more)
    print(f"\nWritten to {options.output}", file=sys.stderr)


def save(options: argparse.Namespace, rows: Sequence[Mapping[str, Any]], workload: Mapping[str, Any],
         **more: Any) -> None:  # fmt: skip
    """Write the rows that there are, with everything that they depend on."""
    result = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine("cuda" if torch.cuda.is_available() else "cpu", torch.get_num_threads()),
        "load": os.getloadavg(),
        "versions": versions(),
        "clock": clock()[0],
        **({"repetitions": options.repetitions} if "repetitions" in options else {}),
        "workload": dict(workload),
        "rows": [{key: _plain(value) for key, value in row.items()} for row in rows],
        **{key: _plain(value) for key, value in more.items()},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown. A missing or empty value is left blank; numbers get three digits, bytes their unit."""
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(_cell(column, row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column.endswith(("bytes", "memory")):
        return f"{value / 1e6:,.3g} MB" if value < 1e9 else f"{value / 1e9:.3g} GB"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Spread) else value


def _synchronised() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _status(key: str) -> int:
    """A figure of /proc/self/status in bytes: VmRSS now, VmHWM at the highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("Resident memory is read from /proc, which this system does not have.")
