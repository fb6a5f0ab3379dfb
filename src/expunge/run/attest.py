"""A signed statement of a finished run, or of an entry of a ledger: `expunge attest`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..evidence.envelope import sign
from ..evidence.keys import key_id, read_private_key
from ..evidence.merkle import make_salt, merkle_root
from ..evidence.statement import (
    CERTIFICATE_FILE,
    NOT_COVERED,
    PROVES,
    ROLLBACK_TYPE,
    SALT_FILE,
    STATEMENT_FILE,
    TEST_RESULT_FILE,
    TEST_RESULT_TYPE,
    UNLEARNING_TYPE,
    Figure,
    Position,
    Request,
    Rollback,
    TestResult,
    Unlearning,
    Utility,
    statement,
)
from ..evidence.verify import folder_digests
from ..folder.checksums import check_finished
from ..folder.ledger import Entry, LedgerFolder
from ..folder.requests import ContinualFolder
from ..folder.run import RunFolder
from ..intact import check_writable
from ..methods import METHODS
from ..report.certificate import certificate
from ..storage import atomic_folder, file_checksum, is_taken, write_json, write_text
from .stated import facts_of, facts_of_several, figure, forget_samples

#: What a verdict says of a forget set, as a test that it has passed or failed.
FORGETTING = {"forgotten": True, "not forgotten": False}


def attest(
    what: Path,
    key: Path,
    output: Path | None = None,
    *,
    request: str | None = None,
    operator: str | None = None,
) -> Path:
    """Write the folder of an attestation and return its path: the signed statement, a test result and a certificate.

    what:    the folder of a finished run, of one request or of several, or the file of a ledger's entry
    output:  `RUN/attestation` if None, of an entry the ledger's `attestations/NNNN`, and nowhere else
    request: the operator's name for a run's request; the run's name if None. An entry has its own

    Raises `InputError` for a run that handed over nothing, whose forget set can no longer be read or is another by now,
    for an attestation that is there already, and for an entry whose predecessor has none.
    """
    signer, place = read_private_key(key), what.absolute()
    ledger = LedgerFolder(place.parent.parent)
    if what.is_file() and ledger.exists:
        problems = [
            Problem(option, "an entry of a ledger has its own.", "Leave it out.")
            for option, given in (("--output", output), ("--request", request))
            if given is not None
        ]
        if problems:
            raise InputError(problems)
        number = next((each for each in range(1, ledger.count + 1) if ledger.entry_file(each) == place), None)
        if number is None:
            raise InputError(Problem(str(what), "it is no entry of the ledger.", "Name one in entries/."))
        return attest_entry(ledger, number, signer, operator)
    return _attest_run(what, signer, output or what / "attestation", request, operator)


def _attest_run(
    run_folder: Path, signer: Any, output: Path, request: str | None, operator: str | None
) -> Path:
    several = ContinualFolder(run_folder)
    folder = several if several.state_file.exists() else RunFolder(run_folder)
    if (missing := folder.without_export) is not None:
        raise InputError(missing)
    check_finished(run_folder)
    state, salt = folder.state, make_salt()
    forget_sets: dict[str, dict[str, Figure]] | None = None
    if isinstance(folder, RunFolder):
        recipe, samples = folder.recipe, forget_samples(folder)
        facts = facts_of(folder, len(samples), merkle_root(samples, salt))
    else:
        recipe = folder.requests.whole
        facts, forget_sets = facts_of_several(folder, salt)
    stated = Unlearning(
        **facts.model_dump(),
        proves=PROVES,
        request=Request(id=request or state.name or "run", done=state.finished, operator=operator),
        forget_sets=forget_sets,
        not_covered=NOT_COVERED,
    )
    forms = {form: folder.path / form for form in METHODS[recipe.method.name].forms}
    return _write(output, signer, stated, _subjects(forms), salt)


def attest_entry(ledger: LedgerFolder, number: int, signer: Any, operator: str | None = None) -> Path:
    """Attest an entry of a ledger; see `attest`."""
    entries = ledger.entries
    entry, output = entries[number - 1], ledger.attestation(number)
    before = ledger.attestation(number - 1) / STATEMENT_FILE
    if number > 1 and not before.is_file():
        raise InputError(
            Problem(str(ledger.entry_file(number)), f"it is chained to entry {number - 1}, which is not attested.",
                    f"Attest {ledger.entry_file(number - 1)} first.")
        )  # fmt: skip
    more: dict[str, Any] = {
        "proves": PROVES,
        "request": Request(id=entry.id, received=entry.received, done=entry.done, operator=operator),
        "earlier": _earlier(entries[:number]),
        "utility": Utility(**entry.utility.model_dump(exclude={"measured_on"})) if entry.utility else None,
        "position": Position(ledger=ledger.identity.id, number=number, entry=ledger.head(number)),
        "previous": file_checksum(before) if number > 1 else None,
    }
    stated: Unlearning | Rollback
    if entry.facts is not None:
        instead = [entries[each - 1].id for each in entry.replaces] or None
        stated = Unlearning(**entry.facts.model_dump(), **more, replaces=instead, not_covered=NOT_COVERED)
    else:
        assert entry.rolled_back is not None
        stated = Rollback(**more, rolled_back=entries[entry.rolled_back - 1].id)
    handed_over = {f"adapter/{name}": digest for name, digest in entry.deliverable.items()}
    return _write(
        output, signer, stated, {ledger.entry_file(number).name: ledger.head(number), **handed_over}
    )


def _earlier(entries: Sequence[Entry]) -> dict[str, dict[str, Figure]]:
    """The forget sets of the requests before the last entry: as the entry before left them, and as it does."""
    if len(entries) < 2:
        return {}
    then, now = entries[-2].forget_sets, entries[-1].forget_sets
    names = {entry.number: entry.id for entry in entries[:-1] if entry.kind == "request"}
    return {
        f"{number} ({name})": {
            metric: figure(metric, then.get(number, {}).get(metric), after)
            for metric, after in now[number].items()
        }
        for number, name in names.items()
        if number in now
    }


def _subjects(forms: Mapping[str, Path]) -> dict[str, str]:
    return {
        f"{form}/{name}": digest
        for form, place in forms.items()
        if place.is_dir()
        for name, digest in folder_digests(place).items()
    }


def _write(
    output: Path,
    signer: Any,
    stated: Unlearning | Rollback,
    subjects: dict[str, str],
    salt: str | None = None,
) -> Path:
    if is_taken(output):
        raise InputError(
            Problem(str(output), "there is an attestation already, or something else.",
                    "Keep it, or name another --output.")
        )  # fmt: skip
    check_writable(output, "--output")
    with atomic_folder(output) as partial:
        kind = ROLLBACK_TYPE
        if isinstance(stated, Unlearning):
            kind = UNLEARNING_TYPE
            page = partial / CERTIFICATE_FILE
            write_text(page, certificate(stated, subjects, key_id(signer.public_key())))
            result = statement(subjects, TEST_RESULT_TYPE, _test_result(stated))
            write_json(partial / TEST_RESULT_FILE, sign(result, signer).to_json())
            subjects = {**subjects, CERTIFICATE_FILE: file_checksum(page)}
        write_json(partial / STATEMENT_FILE, sign(statement(subjects, kind, stated), signer).to_json())
        if salt is not None:
            write_text(partial / SALT_FILE, salt + "\n", private=True)
    return output


def _test_result(stated: Unlearning) -> TestResult:
    """The verdict in in-toto's words: what cannot be said is a warning."""
    verdict = stated.verdict
    words = verdict.forgetting if verdict else []
    outcomes = {FORGETTING.get(word) for word in ([words] if isinstance(words, str) else words)}
    forgetting = next(
        (outcome for outcome in (False, None) if outcome in outcomes), True if outcomes else None
    )
    kept = verdict.utility_kept if verdict else None
    tests = {"the forget set is forgotten": forgetting, "the utility is kept": kept}
    passed, warned, failed = (
        [name for name, outcome in tests.items() if outcome is wanted] for wanted in (True, None, False)
    )
    return TestResult(
        result="FAILED" if failed else "WARNED" if warned else "PASSED",
        configuration=[{"name": "recipe.yaml", "digest": {"sha256": stated.recipe}}],
        passedTests=passed,
        warnedTests=warned,
        failedTests=failed,
    )
