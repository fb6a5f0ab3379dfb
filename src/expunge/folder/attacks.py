"""What the attacks measured, question by question: `attacks/NAME.json`, written as each variant ends."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ..evaluation.checked import checked
from ..intact import read_object
from ..storage import write_record
from .state import Amount, Record

SCHEMA = "expunge.attack/1"
ANEW = "Delete the folder: the attacks will be made again."
#: The models that are asked, in that order; `reference` may be the first one, about a holdout.
Role = Literal["after", "reference", "original"]
ROLES: tuple[Role, ...] = ("after", "reference", "original")

#: Measure → value of every item; None where there is none.
Values = dict[str, list[float | None]]


class CurveRecord(Record):
    """See `expunge.attacks.attack.Curve`."""

    steps: dict[int, Values]
    worst: int
    facts: dict[str, float] = Field(default_factory=dict)


class Measurement(Record):
    """Of one model and variant. attacked: None of the original, which is asked without the attack, but for scores;
    facts: those of the variant"""

    attacked: Values | CurveRecord | None = None
    plain: Values | None = None
    facts: dict[str, float] = Field(default_factory=dict)
    seconds: Amount = 0.0


class AttackRecord(Record):
    """One attack. basis: a hash of all that its values rest on; over: the models that every variant has asked."""

    basis: str
    unfit: str | None = None
    measured: dict[Role, dict[str, Measurement]] = Field(default_factory=dict)
    over: list[Role] = Field(default_factory=list)


class AttackFolder:
    """The folder `attacks` of a run, or one of its own."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def read(self, name: str, basis: str) -> AttackRecord:
        """The record of an attack; an empty one where there is none, or one that rests on something else.

        Raises `InputError` where the file is damaged.
        """
        file = self.file(name)
        if not file.exists():
            return AttackRecord(basis=basis)
        content = read_object(file, "the record of an attack", ("basis",), ANEW, schema=SCHEMA)
        del content["schema"]
        record = checked(AttackRecord, content, str(file), ANEW)
        return record if record.basis == basis else AttackRecord(basis=basis)

    def write(self, name: str, record: AttackRecord) -> None:
        """Write it, for its owner alone: it scores single samples."""
        write_record(self.file(name), {"schema": SCHEMA, **record.model_dump(mode="json")}, private=True)
