"""What a run folder holds to be handed over, read, checked and written anew.

Nothing is copied: a file that is cut short, a layer that is missing, a setting that expunge does not write and a link
to somewhere else would be handed on with the name of the run on them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

from ..errors import InputError, Problem
from ..intact import RESTORE, broken, check_folder, read_object
from ..models.linear import matches
from ..models.loading import load_tokenizer, load_weights
from ..models.settings import Model
from ..storage import atomic_folder, write_json
from .assistant import ASSISTANT_FILE, FACTS, SCHEMA
from .origin import CONFIG_FILE, EXPORT_AGAIN, WEIGHTS_FILE, read_origin
from .weights import exported_config, read_exported, write_exported


def hand_over(form: str, source: Path, folder: Path, size: int | None = None, remedy: str = RESTORE) -> None:
    """Write the `adapter`, the `merged` model or the `assistant` in `source` to `folder`.

    size: bytes of the adapter's weights, as the run has recorded them; None where it has not

    Raises `InputError` for a link, and for a file that is missing, damaged, changed or incomplete.
    """
    _refuse_links(source)
    check_folder(source, remedy)
    writers: dict[str, Callable[[], object]] = {
        "adapter": lambda: _adapter(source, folder, size),
        "assistant": lambda: _assistant(source, folder, size),
        "merged": lambda: _merged(source, folder),
    }
    writers[form]()


def _refuse_links(folder: Path) -> None:
    links = [file for file in (folder, *sorted(folder.rglob("*"))) if file.is_symlink()]
    if links:
        raise InputError(
            [
                Problem(str(file), f"it is a link, to {os.readlink(file)!r}.",
                        "Put the file itself there: a run writes no links, and what one leads to is not handed over.")
                for file in links
            ]
        )  # fmt: skip


def _adapter(source: Path, folder: Path, size: int | None) -> Path:
    config, factors = read_exported(source)
    file, settings = source / WEIGHTS_FILE, source / CONFIG_FILE
    if size is not None and (there := file.stat().st_size) != size:
        raise broken(file, f"it has {there:,} bytes, but the run wrote {size:,}", EXPORT_AGAIN)
    for name, pair in factors.items():
        if not all(bool(torch.isfinite(factor).all()) for factor in pair):
            raise broken(file, f"its factors of {name} are no finite numbers", EXPORT_AGAIN)
    targets = sorted(config.target_modules or ())
    if missing := [target for target in targets if not any(matches(name, [target]) for name in factors)]:
        raise broken(file, f"it lacks the factors of {missing[0]}, which {CONFIG_FILE} names", EXPORT_AGAIN)
    if strange := [name for name in factors if not matches(name, targets)]:
        raise broken(file, f"it holds {strange[0]}, which {CONFIG_FILE} does not name", EXPORT_AGAIN)
    plain = exported_config(
        config.r, targets, config.fan_in_fan_out, config.base_model_name_or_path, config.revision
    )
    ours, theirs = plain.to_dict(), config.to_dict()
    if other := sorted(key for key in theirs if key != "peft_version" and theirs[key] != ours.get(key)):
        raise broken(settings, f"its {other[0]} is {theirs[other[0]]!r}, which no run writes", EXPORT_AGAIN)
    return write_exported(folder, plain, factors, read_origin(source))


def _assistant(source: Path, folder: Path, size: int | None) -> None:
    facts = read_object(
        source / ASSISTANT_FILE, "the record of an assistant", FACTS, EXPORT_AGAIN, schema=SCHEMA
    )
    with atomic_folder(folder) as partial:
        _adapter(source / "adapter", partial / "adapter", size)
        write_json(
            partial / ASSISTANT_FILE,
            {"schema": SCHEMA, **{key: facts.get(key) for key in (*FACTS, "revision")}},
        )


def _merged(source: Path, folder: Path) -> None:
    """In the dtype of its files."""
    model = Model(path=str(source))
    weights, tokenizer = load_weights(model, str(source), dtype="auto"), load_tokenizer(model, str(source))
    with atomic_folder(folder) as partial:
        weights.save_pretrained(str(partial))
        tokenizer.save_pretrained(str(partial))
