"""What the measures of a report are, in plain words: for a reader who has to decide, not to compute."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """measures: a regular expression of the metrics' names that it explains"""

    measures: str
    term: str
    words: str


#: In the order of the table of metrics.
ENTRIES = (
    Entry(
        "forget_quality(_log10)?",
        "Forget Quality",
        "Does the model answer like one that never saw the data? A statistical test compares the truth ratios of the "
        "two, and Forget Quality is its p-value (log₁₀ p is the same on another scale). From 0.05 on the test finds no "
        "difference; with few questions it overlooks more.",
    ),
    Entry(
        "forget_quality_ks",
        "KS distance",
        "How far apart the truth ratios of the two models lie in that test: 0 is alike, 1 is wholly apart.",
    ),
    Entry(
        "model_utility.*",
        "Model Utility",
        "How much is left of what the model should keep, from 0 to 1, over questions about the data that stay, real "
        "authors and the world. Teacher-forced: without the answers that the model writes itself.",
    ),
    Entry(
        ".*_verbatim_memorization",
        "Verbatim memorisation",
        "The model is given the beginning of a passage; how much of the true continuation does it write?",
    ),
    Entry(
        ".*_knowledge_memorization",
        "Knowledge memorisation",
        "The model is asked about the texts; how much of the right answers does it write?",
    ),
    Entry(
        "privacy_leakage",
        "Privacy leakage",
        "Membership inference beside what it would be for a model that never saw the data: 0 is no difference, −100 "
        "is remembered, above 0 the data stand out by being avoided.",
    ),
    Entry(
        "membership_inference_.*",
        "Membership inference (AUC)",
        "How well an outsider can tell, from how sure the model is, which texts it was trained on: 0.5 is tossing a "
        "coin, 1 is always. Well below 0.5 they stand out by being avoided, which is a trace too.",
    ),
    Entry(
        ".*_acc",
        "Accuracy",
        "The share of multiple-choice questions that are answered right. Of four choices guessing gets 0.25.",
    ),
    Entry(
        ".*_probability",
        "Probability of the answer",
        "How sure the model is of the true answer, word for word: 1 is known by heart.",
    ),
    Entry(
        "(real_authors|world_facts)_probability",
        "– of real authors and facts",
        "How much of what the model gives to all the choices goes to the right one.",
    ),
    Entry(
        ".*_rouge",
        "ROUGE-L recall",
        "How much of the true answer is, in the same order, in what the model writes itself: 1 is all of it.",
    ),
    Entry(
        ".*_truth_ratio",
        "Truth ratio",
        "Does the model prefer the right answer to wrong ones? On the forget set 1 is that it cannot tell them apart, "
        "and 0 that it can; on the other sets 1 is that it prefers the right one.",
    ),
    Entry(
        ".*_exact_memorization",
        "Exact memorisation",
        "The share of the true answer's tokens (pieces of words) that are the model's first choice, each after the "
        "true ones before it.",
    ),
    Entry(
        ".*_extraction_strength",
        "Extraction strength",
        "How little of the true answer must be given until the model writes the rest of it by itself: 1 is none, "
        "0 is all.",
    ),
    Entry(
        ".*_memorization_accuracy",
        "Memorisation accuracy",
        "The share of a text's tokens (pieces of words) that are the model's first choice, each after the true ones "
        "before it.",
    ),
    Entry(
        ".*_extraction_likelihood",
        "Extraction likelihood",
        "The model is given the beginning of a text, of every length; the share of ten-token stretches of what it "
        "writes that are in the true rest.",
    ),
    Entry(
        ".*_perplexity",
        "Perplexity",
        "How much a text surprises the model: 1 is not at all; the larger, the more.",
    ),
    Entry(
        ".*_repetition",
        "Repeated 4-grams",
        "The share of four-word stretches of what the model writes that it has written before: it grows where a model "
        "loses its language.",
    ),
    Entry(
        ".*_ngram_entropy",
        "n-gram entropy",
        "How varied what the model writes is: it falls where a model repeats itself.",
    ),
)


def glossary(names: Iterable[str]) -> list[Entry]:
    """The entries of the metrics `names`, each once."""
    names = list(names)
    return [entry for entry in ENTRIES if any(re.fullmatch(entry.measures, name) for name in names)]
