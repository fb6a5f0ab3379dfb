"""Every metric that a benchmark can give is declared, and every declaration is of a metric that one gives."""

from __future__ import annotations

import pytest

from expunge.benchmarks.dialogue.benchmark import DialogueBenchmark
from expunge.benchmarks.harness.benchmark import HarnessBenchmark
from expunge.benchmarks.harness.reasoning import SETS as REASONING
from expunge.benchmarks.harness.reasoning import ReasoningBenchmark
from expunge.benchmarks.measures import DECLARING, declared, label, phrase, preferred
from expunge.benchmarks.memorization.benchmark import MemorizationBenchmark
from expunge.benchmarks.muse.metrics import muse_metrics
from expunge.benchmarks.tdec.benchmark import TdecBenchmark
from expunge.benchmarks.tofu.metrics import tofu_metrics
from expunge.errors import InputError
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.measures import SETS, Measure, SetMeasure, calibrated, declare, measures
from expunge.evaluation.membership import SCORES


def full_record(index: int) -> QuestionRecord:
    """A record that holds what any metric is made of."""
    likelihood = Likelihood(2.0 + index, 4)
    return QuestionRecord(
        index,
        likelihood,
        paraphrased=likelihood,
        perturbed=(Likelihood(6.0, 3),),
        generation="the sea lies by the town",
        truth="the town lies by the sea",
        correct=2,
        strength=0.5,
        scores={**dict.fromkeys(SCORES, float(index)), "extraction_likelihood": 0.5, "acc": 1.0},
    )


def full_log(*sets: str, **data: object) -> EvaluationLog:
    return EvaluationLog(
        "any", "1", True, {name: [full_record(0), full_record(1)] for name in sets}, data=data
    )


def tofu() -> list[str]:
    log = full_log("forget", "retain", "real_authors", "world_facts", "holdout")
    return [*tofu_metrics(log, log)]


def muse() -> list[str]:
    log = full_log("forget_verbatim", "forget_knowledge", "retain_knowledge", "forget_texts", "holdout_texts")
    return [*muse_metrics(log, log)]


def memorization() -> list[str]:
    log = full_log("forget", "retain", "holdout")
    return [
        *MemorizationBenchmark.all_metrics(
            MemorizationBenchmark.__new__(MemorizationBenchmark), log, log, log
        )
    ]


def tdec() -> list[str]:
    return [*TdecBenchmark.metrics(TdecBenchmark.__new__(TdecBenchmark), full_log("forget", "retain"), None)]


def wmdp() -> list[str]:
    tasks = ("wmdp_bio", "wmdp_cyber", "mmlu")
    return _only_accuracy(HarnessBenchmark, tasks)


def reasoning() -> list[str]:
    return _only_accuracy(ReasoningBenchmark, REASONING)


def _only_accuracy(kind: type[HarnessBenchmark], tasks: tuple[str, ...]) -> list[str]:
    record = QuestionRecord(0, Likelihood(0.0, 0), scores={"acc": 1.0})
    log = EvaluationLog(
        "any",
        "1",
        True,
        {task: [record] for task in tasks},
        data={"figures": {task: [task] for task in tasks}},
    )
    return [*kind.metrics(kind.__new__(kind), log)]


def dialogue() -> list[str]:
    return [*DialogueBenchmark.metrics(DialogueBenchmark.__new__(DialogueBenchmark), full_log("wow", "woi"))]


BENCHMARKS = (tofu, muse, memorization, tdec, wmdp, reasoning, dialogue)


@pytest.mark.parametrize("names", BENCHMARKS)
def test_every_metric_of_a_benchmark_is_declared(names) -> None:
    for name in names():
        measure = declared(name)
        assert measure is not None, name
        assert measure.name == name
        assert measure.title != name
        assert label(name) == (measure.title, measure.better)
        for said in (measure.label, measure.better, measure.term, measure.words, phrase(name)):
            assert said.strip(), name
        assert measure.words[-1] in ".?"


def test_every_declaration_is_of_a_metric_that_a_benchmark_gives() -> None:
    assert len(DECLARING) == 8
    given = {name for names in BENCHMARKS for name in names()}
    for name, measure in measures.items():
        assert name == measure.name
        if isinstance(measure, SetMeasure):
            assert any(each.endswith(f"_{name}") and declared(each) for each in given), name
            assert not (measure.function and measure.everywhere), f"{name} is computed where a benchmark asks"
        else:
            assert name in given


def test_no_two_metrics_look_alike_and_no_preference_is_given_twice() -> None:
    given = sorted({name for names in BENCHMARKS for name in names()})
    assert len({label(name)[0] for name in given}) == len(given)
    ranks = [
        (measure.role, measure.preference) for measure in measures.values() if measure.preference is not None
    ]
    assert len(set(ranks)) == len(ranks)


def test_what_the_utility_and_the_verdict_rest_on_best_first() -> None:
    given = sorted({name for names in BENCHMARKS for name in names()})
    assert preferred("utility", given) == [
        "model_utility", "model_utility_teacher_forced", "retain_probability", "retain_knowledge_memorization",
        "retain_knowledge_probability", "mmlu_acc",
    ]  # fmt: skip
    assert preferred("memory", given) == [
        "forget_probability", "forget_exact_memorization", "forget_extraction_strength", "forget_memorization_accuracy",
        "forget_extraction_likelihood", "forget_rouge", "forget_verbatim_memorization", "forget_knowledge_memorization",
        "wmdp_bio_acc", "wmdp_cyber_acc",
    ]  # fmt: skip
    assert preferred("utility", given, ["mmlu_acc", "retain_probability"]) == [
        "retain_probability",
        "mmlu_acc",
    ]
    assert calibrated() == ["forget_extraction_likelihood", "forget_memorization_accuracy"]


@pytest.mark.parametrize(
    ("name", "role", "forgetting", "of_forget_set"),
    [
        ("forget_probability", "memory", "falls", True),
        ("forget_perplexity", "memory", "rises", True),
        ("forget_verbatim_perplexity", "memory", "rises", True),
        ("forget_truth_ratio", "memory", "rises", True),
        ("forget_quality", "quality", "rises", True),
        ("forget_quality_ks", "quality", "falls", True),
        ("privacy_leakage", "privacy", "rises", True),
        ("membership_inference_loss", "privacy", "falls", True),
        ("forget_repetition", "fluency", None, True),
        ("retain_probability", "utility", None, False),
        ("retain_repetition", "fluency", None, False),
        ("holdout_probability", "utility", None, False),
        ("model_utility", "utility", None, False),
        ("mmlu_acc", "utility", None, False),
    ],
)
def test_what_a_metric_tells_depends_on_its_set(
    name: str, role: str, forgetting: str | None, of_forget_set: bool
) -> None:
    measure = declared(name)
    assert (measure.role, measure.forgetting, measure.of_forget_set) == (role, forgetting, of_forget_set)


def test_a_set_without_a_label_is_called_by_its_name() -> None:
    assert "woi" not in SETS
    assert label("empathetic_dialogues_perplexity") == ("Empathetic dialogues: perplexity", "lower is better")
    assert label("forget_perplexity") == ("Forget set: perplexity", "as the reference")
    assert label("something_else") == ("something_else", "")
    assert declared("probability") is None  # of no set


def test_a_name_is_declared_once() -> None:
    measure = Measure("forget_quality", "again", "", "", "", "quality")
    with pytest.raises(InputError, match="metric 'forget_quality' is declared twice"):
        declare(measure)
