"""Model and rows that `unlearn` gets in memory: kept in the run folder, where every later reader finds them as files.

So a run of theirs is one like any other: it can be resumed and repeated from its folder alone, the base has one
fingerprint, and the model in memory stays as it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..data.settings import OwnData
from ..errors import InputError, Problem
from ..folder.begun import is_begun
from ..folder.requests import ContinualFolder
from ..folder.run import RunFolder
from ..intact import read_intact
from ..models.comparison import difference
from ..models.fingerprint import fingerprint
from ..models.loading import load_base
from ..models.processes import processes
from ..models.settings import Model
from ..recipe import Recipe
from ..recipe.loading import read_content
from ..recipe.requests import Requests, load_requests
from ..storage import atomic_folder, hash_rows, read_json_lines, write_json_lines

#: A row is a dict as a line of a jsonl file would be; a `datasets.Dataset` gives such.
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Given:
    """A causal LM of transformers with its tokenizer, and rows by side (forget, retain, holdout); either may be absent.

    Raises `InputError` for a model that cannot be written as files, and for rows that are no JSON objects.
    """

    model: Any
    tokenizer: Any
    rows: Mapping[str, list[dict[str, Any]]]

    @classmethod
    def checked(cls, model: Any, tokenizer: Any, rows: Mapping[str, Rows | None]) -> Given:
        problems = list(_model_problems(model, tokenizer))
        read: dict[str, list[dict[str, Any]]] = {}
        for side, given in rows.items():
            if isinstance(given, str | Path):
                problems.append(
                    Problem(side, "it is a path, not rows.", f"Name the path in the recipe, as data.{side}.")
                )
            elif given is not None:
                read[side] = [dict(row) if isinstance(row, Mapping) else row for row in given]
                problems += _row_problems(side, read[side])
        if problems:
            raise InputError(problems)
        return cls(model, tokenizer, read)

    def recipe(
        self, source: str | Path | Mapping[str, Any], overrides: Sequence[str], output: str | None
    ) -> Recipe | Requests:
        """As `load_requests`, with what is given as the files that it will be in the run's folder."""
        if self.model is None and not self.rows:
            return load_requests(source, overrides, output=output)
        _, content = read_content(source, overrides, output=output)
        folder = _folder(load_requests(self._named(content, Path("in memory")))).path
        loaded = load_requests(self._named(content, folder.resolve()))
        data = (loaded if isinstance(loaded, Recipe) else loaded.whole).data
        if self.rows and not isinstance(data, OwnData):
            raise InputError(
                Problem("data.format", f"{data.format!r} has files of its own, and rows were given.",
                        "Leave it out, or set it to qa, chat or text.")
            )  # fmt: skip
        return loaded

    @contextmanager
    def kept(self, loaded: Recipe | Requests, resume: bool) -> Iterator[None]:
        """Within the block what is given lies in the run's folder; where no run comes of it, it is taken out again.

        Raises `InputError` where a run is resumed that was given something else.
        """
        folder = _folder(loaded)
        if self.model is None and not self.rows:
            yield
            return
        written: list[Path] = []
        begun = is_begun(folder.path, folder.state_file, resume)
        # Before it has begun a kill may have left them; what is the user's own is not written over.
        self._check_same(folder, begun)
        processes().wait_for_everyone()
        if not begun and processes().is_main_process:
            written = self._write(folder)
        processes().wait_for_everyone()
        try:
            yield
        except InputError:
            if not folder.state_file.exists():
                for place in written:
                    shutil.rmtree(place) if place.is_dir() else place.unlink()
                if written and not any(folder.data.iterdir() if folder.data.is_dir() else ()):
                    shutil.rmtree(folder.data, ignore_errors=True)
            raise

    def _named(self, content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        sections = {"data": {side: str(_file(folder / "data", side)) for side in self.rows}}
        if self.model is not None:
            sections["model"] = {"path": str(folder / "base")}
        given = {name: content.get(name) for name in sections}
        return {
            **content,
            **{
                name: {**(section if isinstance(section, Mapping) else {}), **sections[name]}
                for name, section in given.items()
            },
        }

    def _write(self, folder: RunFolder | ContinualFolder) -> list[Path]:
        """What was written: all that is not there already."""
        written = []
        for side, rows in self.rows.items():
            if not (file := _file(folder.data, side)).exists():
                write_json_lines(file, rows, private=True)
                written.append(file)
        if self.model is not None and not folder.base.exists():
            with atomic_folder(folder.base) as partial:
                self.model.save_pretrained(str(partial))
                self.tokenizer.save_pretrained(str(partial))
            written.append(folder.base)
        return written

    def _check_same(self, folder: RunFolder | ContinualFolder, begun: bool) -> None:
        """Raise `InputError` where what is there already is something else."""
        remedy = "Resume with what it was started with, or choose another output."
        started = "the run was started with"
        if not begun:
            started, remedy = "there is already what holds", "Choose another output, or remove it."
        problems = [
            Problem(
                str(_file(folder.data, side)),
                f"{started} other rows than {side} has now.",
                remedy,
            )
            for side, rows in self.rows.items()
            if _file(folder.data, side).exists()
            and hash_rows(read_intact(read_json_lines, _file(folder.data, side))) != hash_rows(rows)
        ]
        if self.model is not None and folder.base.exists():
            kept = fingerprint(load_base(Model(path=str(folder.base))))
            if differs := difference(kept, fingerprint(self.model)):
                problems.append(Problem(str(folder.base), f"{started} another model: {differs}.", remedy))
        if problems:
            raise InputError(problems)


def _folder(loaded: Recipe | Requests) -> RunFolder | ContinualFolder:
    return RunFolder(loaded.output_folder) if isinstance(loaded, Recipe) else ContinualFolder(loaded.output)


def _file(data: Path, side: str) -> Path:
    return data / f"{side}.jsonl"


def _model_problems(model: Any, tokenizer: Any) -> Iterator[Problem]:
    if model is None:
        if tokenizer is not None:
            yield Problem(
                "tokenizer", "there is no model to it.", "Give the model as well, or name both in the recipe."
            )
        return
    if tokenizer is None:
        yield Problem("model", "there is no tokenizer to it.", "Give tokenizer= as well.")
    if not isinstance(model, PreTrainedModel):
        yield Problem("model", f"it is of type {type(model).__name__}, not a model of transformers.",
                      "Give a causal LM of transformers; one with adapters of PEFT by merge_and_unload().")  # fmt: skip
    elif getattr(model.config, "quantization_config", None) is not None:
        yield Problem("model", "its weights are quantised, so they are not the checkpoint's.",
                      "Name its path in the recipe, with model.quantization.")  # fmt: skip
    elif getattr(model, "_hf_peft_config_loaded", False):
        yield Problem("model", "it has adapters, which would not be written with it.",
                      "Give the model without them, or merge them into its weights.")  # fmt: skip


def _row_problems(side: str, rows: Iterable[Any]) -> Iterator[Problem]:
    """Of the first row that is no JSON object; its values are not quoted."""
    for number, row in enumerate(rows, start=1):
        where = f"{side}, row {number}"
        if not isinstance(row, dict):
            yield Problem(where, f"it is of type {type(row).__name__}, not a dict.", "Give rows as dicts.")
            return
        try:
            json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            yield Problem(where, f"it holds what JSON cannot write ({type(error).__name__}).", "Give texts.")
            return
