"""What an attack is: it takes a model that was handed over, and asks it in a way in which forgotten things come back.

An attack is one file. It yields `Variant`s; each changes one thing about how the forget questions are asked. What is
measured (`expunge.attacks.measuring`) and what follows from it (`expunge.attacks.recovery`) is shared by all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

from ..data.encoding import Encoder, Example
from ..data.samples import Sample
from .leaks import Leak
from .settings import Budget

#: The model that was handed over, one that never saw what it forgot, and the one from before.
Role = Literal["after", "reference", "original"]

#: Measure → its value of every item, in their order: `probability` (exp of −the average loss of the answer's tokens)
#: and `strength` (extraction strength) of every attack; `rouge` (ROUGE-L recall of the greedy answer) where answers
#: are generated, NaN for an item without a prompt; or a score of the attack's own.
Measured = dict[str, list[float]]


@dataclass(frozen=True)
class Item:
    """One thing to be forgotten, as it is asked: a question, a conversation, or a chunk of a text.

    sample:     what it was encoded from
    example:    the sequence that is scored: the labels are the answer
    prompt, truth: token ids that a generation starts from and the text that it is compared with; None for plain text
    group:      items of one group belong together (a person, a document, a conversation)
    rewordings: the question in other words, where the benchmark has them
    wrong:      wrong answers to it, likewise
    keywords:   what a text that leaks it says, where the data name it
    """

    sample: Sample
    example: Example
    prompt: list[int] | None = None
    truth: str | None = None
    group: int = 0
    rewordings: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """A model under attack, and what is asked of it.

    The same attack is made on the model that was handed over, on the reference and, where the attack has a score of its
    own, on the original.

    model:    a causal LM in eval mode, an adapter merged into its weights (fp32); an attack leaves it as it was
    encoder:  writes questions as the run wrote them
    forget:   what is asked. Where a holdout stands in for the reference, the holdout
    retain:   what the model should still know; may be empty
    holdout:  what it never saw; may be empty
    role:     which of the three it is; a holdout that stands in for the reference is asked of the first
    original, reference: load the model from before, and one that never saw the forget set, anew and in fp32; None where
              it is not there
    change:   layer → A (r, d_in), B (d_out, r) with weight = original + BA, where the adapter is known; else empty
    answers:  whether answers are generated (see `expunge.attacks.measuring`)
    lead:     the measure that counts
    leak:     which text counts as a leak, where texts are counted
    """

    model: Any
    encoder: Encoder
    forget: Sequence[Item]
    retain: Sequence[Item] = ()
    holdout: Sequence[Item] = ()
    role: Role = "after"
    original: Callable[[], Any] | None = None
    reference: Callable[[], Any] | None = None
    change: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    answers: bool = False
    lead: Literal["probability", "rouge"] = "probability"
    leak: Leak = field(default_factory=Leak)
    budget: Budget = "cheap"
    seed: int = 42


@dataclass(frozen=True)
class Curve:
    """What came back over the steps of an attack: step → measured, in order; `worst` is the step that counts.

    facts: further figures by name, such as the rate, for tables
    """

    steps: Mapping[int, Measured]
    worst: int
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One way in which an attack asks. Its name is the same for every subject; the work waits until it is measured.

    Give one of
    model: yields another model within its block; what it changed is as before afterwards
    items: the same items in the same order, asked otherwise
    score: (model, the subject's or the variant's items) → a score of every item that rises with knowledge, for another
           way of decoding or of asking. The original is scored likewise, and what it knew counts as lost altogether
           (E₀ = 0). `measure` names the score
    curve: makes the attack in steps; it is given the function that measures a model, and says which step counts

    rows:  the places in `Subject.forget` that are asked, all where it is None; `items` are as many
    plain: the items as they are asked without the attack, where that is not as in `Subject.forget`: so that other
           tokens of the answer can count
    facts: further figures by name, for tables
    """

    name: str
    model: Callable[[], AbstractContextManager[Any]] | None = None
    items: Sequence[Item] | None = None
    score: Callable[[Any, Sequence[Item]], Sequence[float]] | None = None
    measure: str = ""
    curve: Callable[[Callable[[Any], Measured]], Curve] | None = None
    rows: Sequence[int] | None = None
    plain: Sequence[Item] | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


class Attack(ABC):
    """One attack, by its name in the registry.

    title: what an outsider does, in a few plain words
    paper: the source
    cost:  what it takes, for `expunge attack --list`
    budget: the least one that it is part of
    counts: whether what it brings back stands against the verdict. Not where it needs the original model itself:
            whoever has that need not attack; nor where it teaches the answers that it asks for
    two_sided: whether less than the reference is a trace as well, as of membership inference
    counts_leaks: whether it counts texts that leak, and so its result rests on `Subject.leak`
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    cost: ClassVar[str]
    budget: ClassVar[Budget] = "cheap"
    counts: ClassVar[bool] = True
    two_sided: ClassVar[bool] = False
    counts_leaks: ClassVar[bool] = False

    @property
    def settings(self) -> Mapping[str, Any]:
        """What of its own attributes its values rest on: records of other settings are not gone on with."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def unfit(self, subject: Subject) -> str | None:
        """Why it does not apply to the subject, as part of a sentence; None where it does."""
        return None

    @abstractmethod
    def variants(self, subject: Subject) -> Iterator[Variant]:
        """The ways in which it asks this subject, those of `subject.budget`.

        They are measured one after another, so what they share may be made once.

        The model that was handed over is asked first; of the others those variants alone that it had. One that is not
        there for the reference is no other question to it (a change in the strength of an adapter that the reference
        does not have): its own, unattacked values are then compared with.
        """
