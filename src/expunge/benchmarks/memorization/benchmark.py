"""The benchmark for a user's own data: how much of it the model still has by heart.

It needs no paraphrases and no reference model: likelihood, exact memorisation and extraction strength of the
forget and the retain material, ROUGE and fluency where the material has prompts, and membership inference where
there is a holdout: material of the same kind that the model never saw.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...data.encoding import Encoder, Example
from ...data.sample_set import SampleSet
from ...data.samples import QuestionAnswer, Sample
from ...errors import InputError, Problem
from ...evaluation.generation import answers_to_prompts, greedy_continuations
from ...evaluation.gradient_norm import gradient_norms
from ...evaluation.likelihood import AnswerLoss, answer_losses
from ...evaluation.log import Continued, EvaluationLog, Likelihood, QuestionRecord
from ...evaluation.membership import membership_metrics, membership_scores, told_apart
from ...evaluation.metric import Metric
from ...evaluation.set_metrics import answer_metrics, fluency_metrics, rouge_recall
from ...models.answers import IGNORED
from ...storage import hash_rows
from ..benchmark import RESOLUTION, Benchmark, Workload
from .aim import HOLDOUT, MEMBERS, Aim, distance
from .kept import kept

#: Longest generated answer, in tokens.
MAX_NEW_TOKENS = 200
#: Forget texts that are gone on with, at most, spread over all; tokens that are given, at most half of a text; and
#: tokens that follow: as many as the attack `prefill` asks for.
TEXTS, GIVEN, FOLLOWING = 20, 32, 64


@dataclass(frozen=True)
class Material:
    """One piece of the user's data: an encoded question, conversation or chunk of text.

    prompt, truth: token ids that a generation starts from and the text that it is compared with; plain text
                   has neither, and nothing is generated for it
    """

    example: Example
    prompt: list[int] | None = None
    truth: str | None = None


class MemorizationBenchmark(Benchmark):
    """`{forget,retain}_{probability,exact_memorization,extraction_strength,perplexity}` (see `answer_metrics`).

    Where generated: `_rouge`, mean ROUGE-L recall of the greedy answers to the prompts, `_repetition` and
    `_ngram_entropy` (see `fluency_metrics`). Where there is a holdout: its own figures, those of
    `membership_metrics` and, by `evaluate`, of the gradient norms.
    EOS counts in the first four wherever the encoding ends an answer with one. With a reference or a holdout:
    `forget_distance` and, with the log from before, `forget_left` (see `expunge.benchmarks.memorization.aim`). With the
    log from before: `retain_kept`.
    """

    name = "memorization"
    metric_version = "1"
    compared = (MEMBERS, HOLDOUT)

    def __init__(
        self,
        forget: Sequence[Material],
        retain: Sequence[Material] = (),
        max_new_tokens: int = MAX_NEW_TOKENS,
        data: Mapping[str, Any] | None = None,
        holdout: Sequence[Material] = (),
    ):
        """`data` describes where the material came from and is copied into the log.

        Raises InputError where there is nothing to forget.
        """
        self.sets = {"forget": list(forget), "retain": list(retain)}
        if holdout:
            self.sets[HOLDOUT] = list(holdout)
        self.max_new_tokens = max_new_tokens
        self.data = dict(data or {})
        if not forget:
            raise InputError(Problem("forget", "there is nothing in it to forget.", "Give at least one row."))

    def forget_part(self) -> MemorizationBenchmark:
        part = copy.copy(self)
        # The holdout is what the forget set is compared with, by the same model.
        part.sets = {name: items if name in (MEMBERS, HOLDOUT) else [] for name, items in self.sets.items()}
        return part

    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        sets = {}
        for name, items in self.sets.items():
            attacked = name in self._attacked
            losses = answer_losses(
                model,
                [item.example for item in items],
                encoder.pad_token_id,
                description=f"Evaluating the {name} set",
                token_statistics=attacked,
            )
            records = [_record(*row) for row in zip(range(len(items)), items, losses, strict=True)]
            sets[name] = _with_scores(records, items, losses, encoder) if attacked else records
        return self.log_of(sets, encoder)

    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        """Answers to the prompts; nothing for the holdout, and none to material without a prompt."""
        sets = dict(log.sets)
        for name in ("forget", "retain"):
            sets[name] = self._answered(model, encoder, name, log.sets[name])
        return replace(log, sets=sets, generated=True)

    def evaluate(self, model: Any, encoder: Encoder) -> EvaluationLog:
        """Measure and generate and, with a holdout, take gradient norms: a backward pass of all weights for each item,
        which runs leave to the attack."""
        log = super().evaluate(model, encoder)
        sets = dict(log.sets)
        for name in self._attacked:
            norms = gradient_norms(model, [item.example for item in self.sets[name]], encoder.pad_token_id)
            sets[name] = [
                replace(record, scores={**record.scores, "gradient_norm": -norm})
                for record, norm in zip(sets[name], norms, strict=True)
            ]
        return replace(log, sets=sets)

    @property
    def has_texts(self) -> bool:
        return bool(self._texts)

    def continue_texts(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        """Of at most `TEXTS` chunks of forget texts `GIVEN` tokens are given, and those that follow are written."""
        if not self._texts:
            return log
        decode = partial(encoder.tokenizer.decode, skip_special_tokens=True)
        most = min(FOLLOWING, self.max_new_tokens)
        halves = [_halves(self.sets[MEMBERS][row].example, most) for row in self._texts]
        written = greedy_continuations(model, encoder.tokenizer, [given for given, _ in halves], most)
        records = list(log.sets[MEMBERS])
        for row, (given, rest), text in zip(self._texts, halves, written, strict=True):
            records[row] = replace(records[row], continued=Continued(decode(given), decode(rest), text))
        return replace(log, sets={**log.sets, MEMBERS: records})

    def workload(self, encoder: Encoder) -> Workload:
        """The work of `measure` and `generate`, without the texts that are gone on with."""
        items = [item for part in self.sets.values() for item in part]
        prompted = [
            item for name in ("forget", "retain") for item in self.sets[name] if item.prompt is not None
        ]
        return Workload(
            [item.example for item in items],
            [(len(item.prompt or []), item.example.label_count) for item in prompted],
            self.max_new_tokens,
        )

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        return {**encoder.describe(), "max_new_tokens": self.max_new_tokens}

    def truths(self) -> dict[str, list[str | None]]:
        return {name: [item.truth for item in items] for name, items in self.sets.items()}

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None = None) -> dict[str, Metric]:
        """The metrics of every set that is not empty. `reference`: for membership inference and the distance to it."""
        metrics: dict[str, Metric] = {}
        for name, records in log.sets.items():
            metrics |= (
                answer_metrics(name, records) | rouge_recall(name, records) | fluency_metrics(name, records)
            )
        if HOLDOUT in log.sets:
            metrics |= membership_metrics(log, reference, MEMBERS, HOLDOUT)
        return metrics

    def all_metrics(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None = None
    ) -> dict[str, Metric]:
        own = distance(log, reference, before) | kept(log, before)
        return super().all_metrics(log, reference, before) | own

    def beyond(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> bool | None:
        aim = Aim.of(log, reference, before)
        return None if aim is None else aim.is_beyond()

    def past_its_aim(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> bool:
        aim = Aim.of(log, reference, before)
        return aim is not None and bool(aim.over() > max(aim.short(), RESOLUTION))

    def near_enough(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> bool:
        aim = Aim.of(log, reference, before)
        return aim is not None and aim.is_near_enough()

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """1 − forget_distance − forget_left: to go beyond what was never seen is no better. Without them
        1 − forget_probability.

        Without a reference, less how clearly membership inference tells the forget set from the holdout. The verdict
        goes by all of them.
        """
        if "forget_distance" not in metrics:
            return 1.0 - metrics["forget_probability"].value
        parts = [metrics[name].value for name in ("forget_distance", "forget_left") if name in metrics]
        # A reference is compared with by an attack of its own.
        compared_with_reference = "membership_inference_reference" in metrics
        return 1.0 - sum(parts) - (0.0 if compared_with_reference else told_apart(metrics))

    @property
    def _attacked(self) -> tuple[str, ...]:
        return (MEMBERS, HOLDOUT) if HOLDOUT in self.sets else ()

    @property
    def _texts(self) -> list[int]:
        """The places of the texts that are gone on with."""
        texts = [row for row, item in enumerate(self.sets[MEMBERS]) if item.prompt is None]
        return texts[:: math.ceil(len(texts) / TEXTS) or 1]

    def _answered(
        self, model: Any, encoder: Encoder, name: str, records: Sequence[QuestionRecord]
    ) -> list[QuestionRecord]:
        items, answered = self.sets[name], list(records)
        prompted = [row for row, item in enumerate(items) if item.prompt is not None]
        texts = answers_to_prompts(
            model,
            encoder,
            [items[row].prompt or [] for row in prompted],
            [items[row].example for row in prompted],
            [records[row] for row in prompted],
            self.max_new_tokens,
        )
        for row, text in zip(prompted, texts, strict=True):
            answered[row] = replace(answered[row], generation=text)
        return answered


def memorization_benchmark(
    sets: Mapping[str, SampleSet], encoder: Encoder, max_new_tokens: int, samples: int | None = None
) -> MemorizationBenchmark:
    """The benchmark over the sample sets `forget` and, where they are there, `retain` and `holdout`.

    samples: at most this many of a set, the first ones; None for all

    Raises `InputError` for rows without an answer in the longest sequence.
    """
    limited = {side: SampleSet(part.source, part.samples[:samples]) for side, part in sets.items()}
    for part in limited.values():
        part.encode(encoder)  # names what is wrong with a row by its file
    described = {side: part.describe() for side, part in limited.items()}
    return MemorizationBenchmark(
        max_new_tokens=max_new_tokens,
        data={
            "path": sets["forget"].source,
            "hash": hash_rows([described[side]["hash"] for side in described]),
            "hashes": {side: hash_rows(map(_content, part.samples)) for side, part in limited.items()},
            "names": {side: part["source"] for side, part in described.items()},
        },
        **{side: material(part.samples, encoder) for side, part in limited.items()},
    )


def material(samples: Sequence[Sample], encoder: Encoder) -> list[Material]:
    """Every sample encoded; a prompt and a truth where it is one question with its answer."""
    pieces = []
    for sample in samples:
        examples = sample.encode(encoder)
        prompted = len(examples) == 1 and sample.truth is not None
        prompt, truth = (sample.prompt(encoder), sample.truth) if prompted else (None, None)
        pieces += [Material(example, prompt, truth) for example in examples]
    return pieces


def _content(sample: Sample) -> str:
    """What is asked and answered, without the keywords by which attacks tell leaks."""
    return repr(replace(sample, keywords=()) if isinstance(sample, QuestionAnswer) else sample)


def _halves(example: Example, most: int) -> tuple[list[int], list[int]]:
    """The tokens of a text that are given, and at most `most` of those that follow."""
    given = 1 + min(GIVEN, example.label_count // 2)  # the first one is no label
    return example.input_ids[:given], example.input_ids[given : given + most]


def _record(index: int, item: Material, loss: AnswerLoss) -> QuestionRecord:
    return QuestionRecord(
        index=index,
        answer=Likelihood(loss.loss, loss.tokens),
        truth=item.truth,
        correct=loss.correct,
        strength=loss.strength,
    )


def _with_scores(
    records: Sequence[QuestionRecord],
    items: Sequence[Material],
    losses: Sequence[AnswerLoss],
    encoder: Encoder,
) -> list[QuestionRecord]:
    """The records, with the scores of the attacks that one pass tells added to them."""
    scored = []
    for record, item, loss in zip(records, items, losses, strict=True):
        assert loss.statistics is not None
        answer = [label for label in item.example.labels if label != IGNORED]
        text = encoder.tokenizer.decode(answer, skip_special_tokens=True)
        scored.append(replace(record, scores=membership_scores(loss.statistics, text)))
    return scored
