"""When and on what a run was made: the time, the versions, the machine."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._version import __version__
from ..progress import say


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def command() -> list[str]:
    """The words that started this process: `expunge` and its arguments, or those of the script that calls it."""
    program = Path(sys.argv[0])
    ours = program.stem == "expunge" or program.parts[-2:] == ("expunge", "__main__.py")
    return ["expunge" if ours else program.name or "python", *sys.argv[1:]]


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    packages = ("torch", "transformers", "peft", "accelerate", "numpy", "scipy", "rouge-score")
    return {
        "expunge": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def changed_versions(recorded: Mapping[str, str]) -> list[str]:
    """`torch 2.8.0, now 2.9.1` for everything that is here in another version than a run was started with."""
    here = versions()
    return [
        f"{name} {old}, now {here[name]}"
        for name, old in recorded.items()
        if name in here and here[name] != old
    ]


def say_changed_versions(recorded: Mapping[str, str]) -> list[str]:
    """`changed_versions`, said in a line where there are any."""
    changed = changed_versions(recorded)
    if changed:
        say(f"Other versions than at the start, so the last digits may differ: {'; '.join(changed)}.")
    return changed


def machine(device: Any, threads: int) -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.partition(":")[2].strip() for line in information.read_text().splitlines()
                 if line.startswith("model name")]  # fmt: skip
        processor = names[0] if names else processor
    return {
        "device": str(device),
        "threads": threads,
        "cores": os.cpu_count(),
        "processor": processor,
        "platform": platform.platform(),
    }
