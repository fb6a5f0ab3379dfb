"""What is signed: in-toto Statements (v1) with a predicate of our own, and with in-toto's test result (v0.1).

The fields are described for readers in docs/ledger.md.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
UNLEARNING_TYPE = "https://github.com/expunge/expunge/attestation/unlearning/v0.1"
ROLLBACK_TYPE = "https://github.com/expunge/expunge/attestation/rollback/v0.1"
TEST_RESULT_TYPE = "https://in-toto.io/attestation/test-result/v0.1"

#: The file of the statement in the folder of an attestation, and of what lies beside it.
STATEMENT_FILE, TEST_RESULT_FILE, CERTIFICATE_FILE = (
    "attestation.json",
    "test-result.json",
    "certificate.html",
)
SALT_FILE = "salt"

#: What every statement says of itself.
PROVES = (
    "This attestation proves who stated this and that nothing of it has changed since: origin and integrity. It does "
    "not prove that the model has forgotten. The figures are what the operator measured; that an attack fails is "
    "evidence of resistance to that attack alone (EDPB Opinion 28/2024, paragraph 55)."
)

#: The attacks that the European Data Protection Board names (Opinion 28/2024, paragraph 55).
CATEGORIES = (
    "membership inference", "attribute inference", "exfiltration", "regurgitation", "model inversion",
    "reconstruction",
)  # fmt: skip

#: The category of attacks that it does not name: on the weights, by training, by a second model.
BEYOND = "beyond the EDPB's list"

#: What no unlearning of a model reaches. Every statement carries all of it.
NOT_COVERED = {
    "base weights": "The original model's weights are unchanged wherever else they are: whoever has them has the data.",
    "backups": "Copies of the data, of the model and of its outputs that are kept elsewhere.",
    "earlier adapters": "Adapters and models that were handed over before, which do not know of this request.",
    "guidance with both models": "Who has the model of before and that of after can compare their outputs, and learn "
    "from the difference what was forgotten.",
}

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Content(BaseModel):
    """Parsing follows in-toto: further fields, of a later version, are left as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)


class DigestSet(Content):
    sha256: Digest


class Subject(Content):
    name: str
    digest: DigestSet


class Request(Content):
    """id: the operator's name for it, no person's; received: when it came, where that was recorded; done: when the run
    was over"""

    id: str
    received: str | None = None
    done: str | None = None
    operator: str | None = None


class ForgetSet(Content):
    """merkle_root: see `expunge.evidence.merkle`; the salt stays with the operator"""

    samples: int
    merkle_root: Digest


class Base(Content):
    """The model that was to forget. fingerprint: of its weights as it was found; docs/fingerprint.md"""

    name: str
    revision: str | None = None
    fingerprint: str


class Measured(Content):
    """A figure over n observations; low and high bound its 95 % interval where there is one."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None


class Figure(Content):
    label: str
    better: str
    before: Measured | None = None
    after: Measured | None = None
    reference: Measured | None = None


class Judgement(Content):
    """As `run.json` has it."""

    forgetting: str | list[str]
    utility_kept: bool | None = None
    headline: str
    against: list[str]


class Utility(Content):
    """What the utility rule looks at.

    original: its value before the ledger's entry `since`, the earliest that measured the same: drift is seen from there
    """

    metric: str
    original: float
    since: int
    after: float


class Executed(Content):
    """An attack that was made. came_back: the share of the lost knowledge that the worst of its variants brought back,
    None where it measures something else, or that cannot be said"""

    name: str
    came_back: Measured | None = None


class Attack(Content):
    """category: one of `CATEGORIES`, or `BEYOND`; by: what was executed, empty where nothing was"""

    category: str
    by: list[Executed]


class Position(Content):
    """The place of the request in a ledger. entry: SHA-256 of the entry's file"""

    ledger: str
    number: int
    entry: Digest


class Facts(Content):
    """What is known of a request once it is over: a ledger's entry holds it, and a statement.

    recipe: SHA-256 of the file recipe.yaml
    """

    forget_set: ForgetSet
    base: Base
    recipe: Digest
    method: str
    versions: dict[str, str]
    seed: int
    figures: dict[str, Figure]
    verdict: Judgement | None = None
    attacks: list[Attack]


class Unlearning(Facts):
    """The predicate `UNLEARNING_TYPE`.

    earlier:  figures of the forget sets of earlier requests before and after this one, by the request's id
    forget_sets: of a run of several requests, the figures of each one's forget set before that request and after all,
              by its number; `figures` are then those of the rest, before all and after all
    utility:  of an entry of a ledger
    replaces: of an entry of a ledger, the ids of the requests that it was run in the place of
    previous: SHA-256 of the envelope of the ledger's entry before this one
    """

    proves: str
    request: Request
    replaces: list[str] | None = None
    earlier: dict[str, dict[str, Figure]] = {}
    forget_sets: dict[str, dict[str, Figure]] | None = None
    utility: Utility | None = None
    not_covered: dict[str, str]
    position: Position | None = None
    previous: Digest | None = None

    @model_validator(mode="after")
    def _says_what_it_must(self) -> Unlearning:
        if missing := [each for each in NOT_COVERED if not self.not_covered.get(each)]:
            raise ValueError(f"does not say under not_covered: {', '.join(missing)}")
        named = {attack.category for attack in self.attacks}
        if missing := [each for each in CATEGORIES if each not in named]:
            raise ValueError(f"does not say under attacks whether it was executed: {', '.join(missing)}")
        return self


class Rollback(Content):
    """The predicate `ROLLBACK_TYPE`. rolled_back: the id of the request whose adapter is left out; the rest as above"""

    proves: str
    request: Request
    rolled_back: str
    earlier: dict[str, dict[str, Figure]] = {}
    utility: Utility | None = None
    position: Position
    previous: Digest | None = None


class TestResult(Content):
    """The predicate `TEST_RESULT_TYPE`, field for field as in-toto has it."""

    __test__ = False  # no class of tests, whatever pytest thinks of its name

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: list[Any]
    passedTests: list[str] = []  # noqa: N815  (in-toto's names)
    warnedTests: list[str] = []  # noqa: N815
    failedTests: list[str] = []  # noqa: N815


class Statement(Content):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[Subject], Field(min_length=1)]
    predicate_type: str = Field(alias="predicateType")
    predicate: dict[str, Any]


#: The types that are read, and what is found in them.
PREDICATES: dict[str, type[Content]] = {
    UNLEARNING_TYPE: Unlearning, ROLLBACK_TYPE: Rollback, TEST_RESULT_TYPE: TestResult,
}  # fmt: skip


def statement(subjects: dict[str, str], predicate_type: str, predicate: Content) -> bytes:
    """A statement, serialised. subjects: name → SHA-256"""
    content = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())
        ],
        "predicateType": predicate_type,
        "predicate": predicate.model_dump(mode="json", exclude_none=True),
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
