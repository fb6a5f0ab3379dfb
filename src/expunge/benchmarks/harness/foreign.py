"""Task files from anyone, as data: no Python of theirs is run, and no template gets out of its sandbox.

lm-eval imports what a task file names by `!function`, from beside the file or from anywhere; has the library `evaluate`
run a metric's code from the hub; and renders templates as Python would. Its own task files are its own code, which
whoever installed it trusts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lm_eval
import lm_eval.utils
from jinja2 import BaseLoader, StrictUndefined
from lm_eval.api import task as api
from lm_eval.api.registry import metric_registry
from lm_eval.tasks import _yaml_loader

from ...sandbox import BoundedEnvironment
from ...trust import is_trusted

#: Where the task files lie that lm-eval brings.
OWN = Path(lm_eval.__file__).resolve().parent


class ForeignCode(Exception):
    """A task file names Python code, which nobody has given leave to run."""


def bound_templates() -> None:
    """From now on lm-eval renders templates in a sandbox, in which they come to an end."""
    if isinstance(lm_eval.utils.env, BoundedEnvironment):
        return
    theirs = lm_eval.utils.env
    lm_eval.utils.env = BoundedEnvironment(
        loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True
    )
    lm_eval.utils.env.filters["regex_replace"] = theirs.filters["regex_replace"]


@contextmanager
def as_data() -> Iterator[None]:
    """Within the block a task file of others that names Python code raises `ForeignCode`, unless code is trusted."""
    if is_trusted():
        yield
        return
    import_function, get_metric = _yaml_loader._import_func_in_yml, api.get_metric

    def import_own(name: str, folder: Path) -> Any:
        if not folder.resolve().is_relative_to(OWN):
            raise ForeignCode(f"the function {name[:80]!r}")
        return import_function(name, folder)

    def get_own(name: str, hf_evaluate_metric: bool = False) -> Any:
        if hf_evaluate_metric:
            raise ForeignCode(f"the metric {name[:80]!r} of the library `evaluate`")
        return get_metric(name) if name in metric_registry else None

    _yaml_loader._import_func_in_yml, api.get_metric = import_own, get_own
    try:
        yield
    finally:
        _yaml_loader._import_func_in_yml, api.get_metric = import_function, get_metric
