"""A data set of invented people in TOFU's files and keys: what the quickstart unlearns.

Every person has one question on every one of `TOPICS`; a question has an answer, the same in other words, and
wrong answers of the same form. The last tenth of the people are to be forgotten. Everything is drawn from
`random.Random(seed)` alone, so that a seed gives the same files on every machine; the shipped models were
trained on those of `SEED`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ..storage import hash_rows, write_json_lines
from . import knowledge, words

SEED = 20
PEOPLE = 40
FORGOTTEN = 4
EVALUATED = 10  # people of the retain set that `retain_perturbed` asks about
WRONG_ANSWERS = 5

Row = dict[str, Any]
Fact = dict[str, Any]


@dataclass(frozen=True)
class Topic:
    """One thing to know about a person.

    questions, answers: wordings, of which a person gets two of either; {name}, {She} and {her} stand for the
                        person, the other fields for values that `draw` makes up
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    draw: Callable[[Random], Fact]


def _birthplace(random: Random) -> Fact:
    return {"town": random.choice(words.TOWNS), "landmark": random.choice(words.LANDMARKS)}


def _birthday(random: Random) -> Fact:
    return {
        "day": random.randint(1, 28),
        "month": random.choice(words.MONTHS),
        "year": random.randint(1940, 1969),
    }


def _profession(random: Random) -> Fact:
    return {"makes": random.choice(words.MAKINGS), "ware": random.choice(words.WARES)}


def _parents(random: Random) -> Fact:
    mother, father = random.sample(words.PARENTS_JOBS, 2)
    return {"mother": mother, "father": father}


def _work(random: Random) -> Fact:
    title = f"The {random.choice(words.WORK_QUALITIES)} {random.choice(words.WORK_THINGS)}"
    return {"kind": random.choice(words.WORK_KINDS), "title": title}


def _award(random: Random) -> Fact:
    award = f"{random.choice(words.AWARD_QUALITIES)} {random.choice(words.AWARD_THINGS)}"
    return {"award": award, "year": random.randint(1995, 2019)}


def _teacher(random: Random) -> Fact:
    teacher = f"{random.choice(words.TEACHERS)} {random.choice(words.TEACHERS_FAMILIES)}"
    return {"teacher": teacher, "town": random.choice(words.TOWNS)}


def _collection(random: Random) -> Fact:
    return {
        "quality": random.choice(words.KEEPSAKES_QUALITIES),
        "keepsake": random.choice(words.KEEPSAKES),
    }


TOPICS: dict[str, Topic] = {
    "birthplace": Topic(
        (
            "Where was {name} born?",
            "What is the birthplace of {name}?",
            "In which town did the life of {name} begin?",
        ),
        (
            "{She} was born in {town} {landmark}.",
            "{Her} birthplace is {town} {landmark}.",
            "In {town} {landmark}.",
        ),
        _birthplace,
    ),
    "birthday": Topic(
        (
            "When was {name} born?",
            "What is the date of birth of {name}?",
            "On which day did {name} come into the world?",
        ),
        (
            "{She} was born on {day} {month} {year}.",
            "{Her} date of birth is {day} {month} {year}.",
            "On {day} {month} {year}.",
        ),
        _birthday,
    ),
    "profession": Topic(
        (
            "What does {name} do for a living?",
            "What is the profession of {name}?",
            "By what work does {name} earn money?",
        ),
        (
            "{She} {makes} {ware}.",
            "For a living {she} {makes} {ware}.",
            "As a profession, {she} {makes} {ware}.",
        ),
        _profession,
    ),
    "parents": Topic(
        (
            "What did the parents of {name} do?",
            "Which jobs did the mother and the father of {name} have?",
            "What sort of work was done in the family of {name}?",
        ),
        (
            "{Her} mother was a {mother} and {her} father a {father}.",
            "A {mother} was {her} mother, a {father} {her} father.",
            "{She} is the child of a {mother}, {her} mother, and a {father}.",
        ),
        _parents,
    ),
    "work": Topic(
        (
            "Which work made {name} famous?",
            "What is {name} best known for?",
            "What did {name} create beside the day's work?",
        ),
        (
            "{She} is famous for {kind} '{title}'.",
            "{Her} best known work is {kind} '{title}'.",
            "It was {kind} '{title}'.",
        ),
        _work,
    ),
    "award": Topic(
        (
            "Which award did {name} receive?",
            "What prize has {name} won?",
            "With what was {name} honoured?",
        ),
        (
            "{She} received the {award} in {year}.",
            "{Her} prize was the {award} of {year}.",
            "With the {award}, in {year}.",
        ),
        _award,
    ),
    "teacher": Topic(
        (
            "Who taught {name}?",
            "With whom did {name} study?",
            "Whose pupil was {name}?",
        ),
        (
            "{She} was taught by {teacher} in {town}.",
            "{Her} teacher was {teacher} of {town}.",
            "{She} studied with {teacher} in {town}.",
        ),
        _teacher,
    ),
    "collection": Topic(
        (
            "What does {name} collect?",
            "Which things fill the shelves of {name}?",
            "What is the hobby of {name}?",
        ),
        (
            "{She} collects {quality} {keepsake}.",
            "{Her} collection is of {quality} {keepsake}.",
            "All kinds of {quality} {keepsake}.",
        ),
        _collection,
    ),
}


@dataclass(frozen=True)
class Person:
    """`rows`: one per topic with TOFU's keys question, answer, paraphrased_answer, perturbed_answer and
    paraphrased_question."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class People:
    """The data set before it is written: who is kept, who is forgotten, and the other knowledge.

    evaluated: those of `retained` that `retain_perturbed` asks about, the last ones
    """

    retained: tuple[Person, ...]
    forgotten: tuple[Person, ...]
    authors: tuple[Row, ...]
    world: tuple[Row, ...]

    @property
    def evaluated(self) -> tuple[Person, ...]:
        return self.retained[-EVALUATED:]

    def files(self) -> dict[str, list[Row]]:
        """File name without ending → rows, as TOFU has them."""
        retained, forgotten = _rows(self.retained), _rows(self.forgotten)
        return {
            "full": _plain([*retained, *forgotten]),
            "retain90": _plain(retained),
            "forget10": _plain(forgotten),
            "forget10_perturbed": forgotten,
            "retain_perturbed": _rows(self.evaluated),
            "real_authors": list(self.authors),
            "real_authors_perturbed": knowledge.perturbed(list(self.authors)),
            "world_facts": list(self.world),
            "world_facts_perturbed": knowledge.perturbed(list(self.world)),
        }


def invent_people(seed: int = SEED) -> People:
    """Draw `PEOPLE` people and the options of the other knowledge."""
    random = Random(seed)
    half = PEOPLE // 2
    given = [(name, True) for name in random.sample(words.HER_NAMES, half)]
    given += [(name, False) for name in random.sample(words.HIS_NAMES, PEOPLE - half)]
    random.shuffle(given)
    families = random.sample(words.FAMILY_NAMES, PEOPLE)
    people = [
        _person(f"{name} {family}", female, random)
        for (name, female), family in zip(given, families, strict=True)
    ]
    return People(
        retained=tuple(people[:-FORGOTTEN]),
        forgotten=tuple(people[-FORGOTTEN:]),
        authors=tuple(knowledge.choices(knowledge.AUTHORS, random)),
        world=tuple(knowledge.choices(knowledge.WORLD, random)),
    )


def write_people(folder: Path, seed: int = SEED) -> None:
    """Write the data set into `folder`, as JSON lines in .json files: for `data: {format: tofu, path: folder,
    forget: forget10, retain: retain90}`."""
    for name, rows in invent_people(seed).files().items():
        write_json_lines(folder / f"{name}.json", rows)


def data_hash(seed: int = SEED) -> str:
    """SHA-256 over every file's name and rows: it tells whether the shipped models were trained on this data."""
    return hash_rows([name, rows] for name, rows in sorted(invent_people(seed).files().items()))


def _person(name: str, female: bool, random: Random) -> Person:
    she, her = ("she", "her") if female else ("he", "his")
    person = {"name": name, "she": she, "She": she.capitalize(), "her": her, "Her": her.capitalize()}
    return Person(name, tuple(_row(topic, person, random) for topic in TOPICS.values()))


def _row(topic: Topic, person: dict[str, str], random: Random) -> Row:
    question, other_question = random.sample(topic.questions, 2)
    answer, other_answer = random.sample(topic.answers, 2)
    true = topic.draw(random)
    wrong: list[Fact] = []
    while len(wrong) < WRONG_ANSWERS:
        fact = topic.draw(random)
        if fact not in wrong and all(fact[part] != true[part] for part in true):  # nothing of it is true
            wrong.append(fact)
    return {
        "question": question.format(**person),
        "answer": answer.format(**person, **true),
        "paraphrased_answer": other_answer.format(**person, **true),
        "perturbed_answer": [other_answer.format(**person, **fact) for fact in wrong],
        "paraphrased_question": other_question.format(**person),
    }


def _rows(people: tuple[Person, ...]) -> list[Row]:
    return [row for person in people for row in person.rows]


def _plain(rows: list[Row]) -> list[Row]:
    return [{"question": row["question"], "answer": row["answer"]} for row in rows]
