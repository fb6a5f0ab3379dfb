"""A model in memory as lm-evaluation-harness wants it."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from itertools import groupby
from typing import Any

import lm_eval.api.task
import numpy as np
import torch
from lm_eval.models.huggingface import HFLM

from ...evaluation.inference import batches_by_length
from ...evaluation.likelihood import TOKENS_PER_BATCH
from ...models.half_precision import fast_passes
from ...models.modes import evaluating
from ...models.processes import gathered, share
from ...progress import say, track

#: Rows of a batch of generations.
GENERATIONS_AT_ONCE = 8

#: A request as lm-eval hands it over: its texts, the token ids of the context and those of the continuation.
Request = tuple[tuple[str, str] | None, list[int], list[int]]


class InMemoryModel(HFLM):
    """lm-eval's own treatment of Hugging Face models, in batches that are bounded by tokens, not by rows.

    Several processes share the batches, and every one gets the answers of all.

    tokens:      (context, continuation) → scored tokens of the continuation, filled while requests are answered
    description: what the progress line says
    """

    description = "lm-eval"

    def __init__(self, model: Any, tokenizer: Any):
        # lm-eval gives the tokenizer a padding token, so it gets a copy.
        super().__init__(pretrained=model, tokenizer=deepcopy(tokenizer), batch_size=GENERATIONS_AT_ONCE)
        self.tokens: dict[tuple[str, str], int] = {}
        self.tokens_per_batch = TOKENS_PER_BATCH.get(self.device.type, TOKENS_PER_BATCH["accelerator"])

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return super().loglikelihood(requests, disable_tqdm=True)  # `track` shows the progress

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        self.tokens |= {texts: len(continuation) for texts, _, continuation in requests if texts is not None}
        self._say_what_is_cut_off(requests)
        questions = [
            list(group) for _, group in groupby(range(len(requests)), lambda index: requests[index][1])
        ]
        costs = [_cost([requests[index] for index in question]) for question in questions]
        answers: dict[int, tuple[float, bool]] = {}
        for batch in track(share(batches_by_length(costs, self.tokens_per_batch)), self.description):
            indices = [index for question in batch for index in questions[question]]
            self.batch_size_per_gpu = len(indices)
            scored = super()._loglikelihood_tokens([requests[index] for index in indices], disable_tqdm=True)
            answers |= zip(indices, scored, strict=True)
        self.batch_size_per_gpu = GENERATIONS_AT_ONCE
        answers = gathered(answers)
        return [answers[index] for index in range(len(requests))]

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        indices = share(range(len(requests)))
        written = super().generate_until([requests[index] for index in indices], disable_tqdm=True)
        texts = gathered(dict(zip(indices, written, strict=True)))
        return [texts[index] for index in range(len(requests))]

    def _say_what_is_cut_off(self, requests: Sequence[Request]) -> None:
        longest = self.max_length + 1
        cut = sum(len(context) + len(continuation) > longest for _, context, continuation in requests)
        if cut:
            say(f"{self.description}: {cut} of {len(requests)} prompts exceed {self.max_length} tokens; their "
                "beginnings are cut off.")  # fmt: skip


def _cost(requests: Sequence[Request]) -> int:
    """Tokens of one question's forward pass: one row where every choice is one token, as lm-eval reuses its logits."""
    longest = max(len(context) + len(continuation) for _, context, continuation in requests)
    one_row = all(len(continuation) == 1 for *_, continuation in requests)
    return longest * (1 if one_row else len(requests))


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Eval mode and lm-eval's own seeds in the block; modes and random numbers afterwards as if it had not been.

    Two warnings that the model is in memory, and a bar for the prompts of every one of MMLU's 57 tasks, are not shown.
    """
    python, numpy, bar = random.getstate(), np.random.get_state(), lm_eval.api.task.tqdm
    device = next(model.parameters()).device
    logger = logging.getLogger("lm_eval.models.huggingface")
    level = logger.level
    kept_apart = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with evaluating(model), fast_passes(model), kept_apart:
        random.seed(0)
        np.random.seed(1234)
        torch.manual_seed(1234)
        logger.setLevel(logging.ERROR)
        lm_eval.api.task.tqdm = partial(bar, disable=True)
        try:
            yield
        finally:
            lm_eval.api.task.tqdm = bar
            logger.setLevel(level)
            random.setstate(python)
            np.random.set_state(numpy)
