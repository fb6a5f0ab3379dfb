"""The study behind a sweep: optuna draws the values, and one storage tells all workers what the others do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import Study
from optuna.trial import FrozenTrial

from ..errors import InputError, Problem, nearest
from ..folder.sweep import SweepFolder
from ..models.seeds import seed_for

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed),
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=False),
}


#: Keys of an address behind which drivers take a password.
PASSWORDS = {"password", "passwd", "pwd", "sslpassword"}


class ByNumber(BaseSampler):
    """Draws every value of every trial by a sampler of its own, seeded by the trial's number and the key.

    So it does not matter which worker draws a trial or what it drew before: at random many workers draw the trials that
    one would, and two recipes that are searched by one space with one seed get the same trials.
    """

    def __init__(self, sampler: str, seed: int):
        self.make = SAMPLERS[sampler]
        self.seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        seed = seed_for(self.seed, "sweep", str(trial.number), param_name) % 2**32
        return self.make(seed).sample_independent(study, trial, param_name, param_distribution)


def check_sampler(sampler: str) -> None:
    if sampler not in SAMPLERS:
        raise InputError(
            Problem("--sampler", f"there is no sampler {sampler!r}.", nearest(sampler, SAMPLERS))
        )


def check_address(storage: str | None) -> None:
    """Raises `InputError` for what is no address of a database, and for one that holds a password."""
    if storage is None:
        return
    try:
        url = sqlalchemy.make_url(storage)
    except sqlalchemy.exc.ArgumentError:
        raise InputError(
            Problem("--storage", "this is no address of a database.",
                    "Write sqlite:///FILE or postgresql://USER@HOST/DATABASE, or leave it out.")
        ) from None  # fmt: skip
    if url.password is not None or PASSWORDS & {key.lower() for key in url.query}:
        raise InputError(
            Problem("--storage", "the address holds a password, and the folder of a sweep is made to be shown.",
                    "Leave it out there; PGPASSWORD or ~/.pgpass has it for PostgreSQL.")
        )  # fmt: skip


def open_study(folder: SweepFolder) -> Study:
    """The study of a sweep that was created, in its storage. Raises `InputError` where that cannot be reached."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    state = folder.state
    pruner: BasePruner = MedianPruner() if state.prune else NopPruner()
    return optuna.create_study(
        study_name=state.study,
        storage=_storage(folder, state.storage),
        sampler=ByNumber(state.sampler, state.seed or 0),
        pruner=pruner,
        direction="maximize",
        load_if_exists=True,
    )


def check_storage(address: str | None) -> None:
    """Raise `InputError` where the database cannot be reached."""
    if address is not None:
        _database(address)


def _storage(folder: SweepFolder, address: str | None) -> BaseStorage:
    if address is not None:
        return _database(address)
    lock = JournalFileSymlinkLock(str(folder.journal))
    lock.acquire()
    try:
        _cut_torn_line(folder.journal)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(folder.journal), lock_obj=lock))


def _cut_torn_line(journal: Path) -> None:
    """Leave out the line at the end that a full disk or a loss of power has torn: the next one would be joined to it,
    and nothing after it could be read. What it said is done again."""
    if journal.is_file() and not (content := journal.read_bytes()).endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _database(address: str) -> BaseStorage:
    try:
        return get_storage(address)
    except (ImportError, sqlalchemy.exc.NoSuchModuleError):
        reason = "its driver is not installed"
        remedy = "For PostgreSQL: pip install 'psycopg[binary]', and write postgresql+psycopg://…"
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = f"it cannot be used ({type(error).__name__})"
        remedy = "Check that it runs, and that you may write to it."
    raise InputError(Problem(f"--storage: {address}", f"{reason}.", remedy))
