"""Questions and answers that have nothing to do with anything to be forgotten, made on the spot: no person, no place,
no text that anyone could ask to have forgotten.

Finetuning on them can teach no forgotten answer; what comes back by it was still in the weights.
"""

from __future__ import annotations

from random import Random

SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WORDS = (
    "apple", "basket", "candle", "door", "engine", "feather", "garden", "hammer", "island", "jacket", "kettle",
    "ladder", "mirror", "needle", "orange", "pocket", "quilt", "ribbon", "saddle", "table", "umbrella", "violin",
    "window", "yarn",
)  # fmt: skip


def benign_questions(count: int) -> list[tuple[str, str]]:
    """`count` pairs of a question and its answer, the same every time, in an order that mixes their kinds.

    count: at most 784
    """
    random = Random(0)
    sums = [(a, b) for a in range(11, 90, 4) for b in range(12, 60, 5)]
    pairs = [(f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.") for a, b in sums]
    pairs += [(f"What is {a + b} minus {b}?", f"{a + b} minus {b} is {a}.") for a, b in sums]
    pairs += [(f"How do you write {n} in words?", f"You write it as {in_words(n)}.") for n in range(100)]
    pairs += [
        (f"Which day comes {in_words(days)} days after {day}?", f"It is {DAYS[(place + days) % 7]}.")
        for place, day in enumerate(DAYS)
        for days in range(2, 14)
    ]
    for _ in range(200):
        words = random.sample(WORDS, 4)
        pairs.append(
            (f"Sort these words by the alphabet: {', '.join(words)}.", f"{', '.join(sorted(words))}.")
        )
    return random.sample(pairs, count)


def in_words(number: int) -> str:
    """A number from 0 to 99, in English."""
    if number < len(SMALL):
        return SMALL[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")
