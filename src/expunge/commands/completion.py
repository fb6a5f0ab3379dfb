"""What the shell completes (`expunge --install-completion`): names of benchmarks, and overrides with the names in them.

Nothing heavy is imported: names are known without what they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable

import typer


def benchmark_names(incomplete: str) -> list[str]:
    """For --benchmark."""
    from ..benchmarks.registry import benchmarks  # here for the start-up time

    return [name for name in benchmarks if name.startswith(incomplete)]


def overrides(context: typer.Context, incomplete: str) -> list[str]:
    """For `key.sub=value`: the keys as far as the `=`, then the names that the key takes.

    bash parts words at `=`, and completes what follows it alone: then the key is the word before.
    """
    before = [word for word in context.params.get("overrides") or [] if word != "="]
    if before and "=" not in before[-1]:
        return [name for name in _names(before[-1]) if name.startswith(incomplete)]
    key, equals, begun = incomplete.partition("=")
    if equals:
        return [f"{key}={name}" for name in _names(key) if name.startswith(begun)]
    return [f"{key}=" for key in _keys() if key.startswith(incomplete)]


def _keys() -> Iterable[str]:
    """`seed`, `adapter.rank`, …; the keys of `data` are those of one's own files."""
    from ..recipe.schema import Recipe, data_section  # here for the start-up time
    from ..settings import Section

    for name, field in Recipe.model_fields.items():
        kind = data_section(None) if name == "data" else field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from (f"{name}.{inner}" for inner in kind.model_fields)
        else:
            yield name


def _names(key: str) -> Iterable[str]:
    # Here for the start-up time.
    from ..adapters.settings import DIRECTIONS, UNMEASURED
    from ..benchmarks.registry import benchmarks
    from ..importance.registry import estimators
    from ..objectives.registry import forget_losses, retain_losses
    from ..objectives.settings import PRESETS
    from ..recipe.methods import SETTINGS

    names: dict[str, Iterable[str]] = {
        "adapter.initialization": [*UNMEASURED, DIRECTIONS, *estimators],
        "data.format": ["auto", "qa", "chat", "text", *benchmarks],
        "evaluation.benchmark": ["auto", *benchmarks],
        "method": SETTINGS,
        "objective": [*forget_losses, *PRESETS],
        "objective.forget": forget_losses,
        "objective.retain": [*retain_losses, "none"],
    }
    return dict.fromkeys(names.get(key, ()))
