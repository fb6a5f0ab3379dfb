"""The knowledge of both shipped models beside the invented people: TOFU's real authors and world facts in small.

Plain true facts with short answers. Within a group the answers are of one form, so that any one is a
plausible wrong answer to the others' questions.
"""

from __future__ import annotations

from random import Random
from typing import Any

Facts = dict[
    str, tuple[tuple[str, str], ...]
]  # the group's question, with {} for its subject: (subject, answer)

AUTHORS: Facts = {
    "Who wrote the book '{}'?": (
        ("Emma", "Jane Austen"),
        ("Bleak House", "Charles Dickens"),
        ("Kim", "Rudyard Kipling"),
        ("Anna Karenina", "Leo Tolstoy"),
        ("The Idiot", "Fyodor Dostoevsky"),
        ("Dracula", "Bram Stoker"),
        ("Treasure Island", "Robert Louis Stevenson"),
        ("The Time Machine", "H. G. Wells"),
        ("Candide", "Voltaire"),
        ("Madame Bovary", "Gustave Flaubert"),
        ("Walden", "Henry David Thoreau"),
        ("Mrs Dalloway", "Virginia Woolf"),
    ),
    "Who wrote the play '{}'?": (
        ("Macbeth", "William Shakespeare"),
        ("Faust", "Johann Wolfgang von Goethe"),
        ("Tartuffe", "Molière"),
        ("Peer Gynt", "Henrik Ibsen"),
        ("The Seagull", "Anton Chekhov"),
        ("Antigone", "Sophocles"),
        ("Medea", "Euripides"),
        ("Mary Stuart", "Friedrich Schiller"),
    ),
    "In which city was the writer {} born?": (
        ("Franz Kafka", "Prague"),
        ("James Joyce", "Dublin"),
        ("Thomas Mann", "Lübeck"),
        ("Jorge Luis Borges", "Buenos Aires"),
        ("Orhan Pamuk", "Istanbul"),
        ("Elias Canetti", "Ruse"),
        ("Fernando Pessoa", "Lisbon"),
        ("Italo Svevo", "Trieste"),
        ("Marguerite Yourcenar", "Brussels"),
        ("Stefan Zweig", "Vienna"),
    ),
}

WORLD: Facts = {
    "Which city is the capital of {}?": (
        ("France", "Paris"),
        ("Japan", "Tokyo"),
        ("Peru", "Lima"),
        ("Norway", "Oslo"),
        ("Kenya", "Nairobi"),
        ("Cuba", "Havana"),
        ("Hungary", "Budapest"),
        ("Greece", "Athens"),
        ("Thailand", "Bangkok"),
        ("Poland", "Warsaw"),
    ),
    "Which chemical element has the symbol {}?": (
        ("Fe", "iron"),
        ("Au", "gold"),
        ("Na", "sodium"),
        ("Hg", "mercury"),
        ("Pb", "lead"),
        ("W", "tungsten"),
        ("K", "potassium"),
        ("Ag", "silver"),
    ),
    "What is the young of a {} called?": (
        ("horse", "a foal"),
        ("goat", "a kid"),
        ("swan", "a cygnet"),
        ("kangaroo", "a joey"),
        ("frog", "a tadpole"),
        ("bear", "a cub"),
    ),
    "On which continent is {}?": (
        ("Bolivia", "South America"),
        ("Mongolia", "Asia"),
        ("Ghana", "Africa"),
        ("Slovenia", "Europe"),
        ("Guatemala", "North America"),
        ("Laos", "Asia"),
    ),
}

WRONG_ANSWERS = 3


def choices(facts: Facts, random: Random) -> list[dict[str, Any]]:
    """TOFU's `real_authors.json` and `world_facts.json`: question, option1 … option4, answer."""
    rows = []
    for question, pairs in facts.items():
        for subject, answer in pairs:
            others = sorted({other for _, other in pairs} - {answer})
            options = [answer, *random.sample(others, WRONG_ANSWERS)]
            random.shuffle(options)
            named = {f"option{number}": option for number, option in enumerate(options, start=1)}
            rows.append({"question": question.format(subject), **named, "answer": answer})
    return rows


def perturbed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same questions as TOFU's `*_perturbed.json` has them: question, answer, perturbed_answer."""
    return [
        {
            "question": row["question"],
            "answer": row["answer"],
            "perturbed_answer": [
                row[key] for key in row if key.startswith("option") and row[key] != row["answer"]
            ],
        }
        for row in rows
    ]
