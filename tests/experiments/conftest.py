"""The experiments are scripts beside the package: their folders join the path."""

from __future__ import annotations

import sys
from pathlib import Path

for kind in ("speed", "quality", "papers", "."):
    sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / kind))
