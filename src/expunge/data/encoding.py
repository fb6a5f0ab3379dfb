"""Text → token ids and labels, so that only the answer is predicted.

The boundary between prompt and answer is the longest common prefix of the tokens of the prompt alone and of the
whole text. That is right where a space or a merge crosses the boundary, and whether or not the tokenizer adds
BOS, EOS or both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import InputError, Problem
from ..models.answers import IGNORED
from ..progress import say
from ..storage import hash_rows
from .conversation import ChatWriter, common_prefix
from .templates import ChatTemplate, Template


@dataclass(frozen=True)
class Example:
    """One sequence: token ids, and labels of the same length, −100 where nothing is predicted.

    `labels[t] == input_ids[t]` where t counts; it is predicted from the tokens before t (the Hugging Face
    convention: the shift by one happens in the model's loss, here in `expunge.models.answers`).
    cut: labels were left out because the sequence would have been too long
    """

    input_ids: list[int]
    labels: list[int]
    cut: bool = False

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def label_count(self) -> int:
        """Number of predicted tokens; position 0 is never predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


def encoded_hash(examples: Sequence[Example]) -> str | None:
    """A hash of token ids and labels, in their order: of what a model is given. None where there are no examples."""
    return hash_rows([example.input_ids, example.labels] for example in examples) if examples else None


@dataclass(frozen=True)
class Encoder:
    """Turns questions, conversations and texts into `Example`s for one tokenizer and prompt template.

    tokenizer:  a Hugging Face tokenizer
    template:   how a question and its answer are written (see `expunge.data.templates`)
    max_length: longest sequence in tokens; text is cut into chunks of it, a longer answer is cut off
    vocabulary: rows of the model's embedding; a tokenizer may have ids beyond them, which the model cannot read
    """

    tokenizer: Any
    template: Template = field(default_factory=lambda: Template())
    max_length: int = 512
    vocabulary: int = sys.maxsize

    def describe(self) -> dict[str, Any]:
        """The encoder's entry in an evaluation log."""
        return {"template": self.template.describe(), "max_length": self.max_length}

    @property
    def pad_token_id(self) -> int:
        """The id that fills a batch. No model looks at it, so any will do where the model lacks the tokenizer's own."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None and token < self.vocabulary:
                return int(token)
        return 0

    def answer(self, question: str, answer: str) -> Example:
        """A question and its answer; the answer's tokens and one end-of-sequence token are the labels."""
        return self.messages(_turns(question, answer))

    def prompt(self, question: str) -> list[int]:
        """The tokens that come before the answer: what a generation starts from."""
        if isinstance(self.template, ChatTemplate):
            return self.prompt_of(_turns(question, "x"))
        # A space at the end is left to the answer's first token, into which tokenizers merge it. The comparison with
        # a whole text leaves out an EOS that the tokenizer puts after every text.
        prompt = self.template.ask(question).rstrip(" ")
        whole = self.tokenizer(self.template.render(question, "x"))["input_ids"]
        return self._readable(whole[: common_prefix(self.tokenizer(prompt)["input_ids"], whole)])

    def prompt_of(self, messages: Sequence[dict[str, Any]], tools: Sequence[Any] = ()) -> list[int]:
        """The tokens that come before the last answer of a conversation; BOS or EOS where nothing does."""
        if isinstance(self.template, ChatTemplate):
            written = ChatWriter(self.tokenizer, tools).conversation(messages)
            before, whole = self._ids(written.text[: written.spans[-1][0]]), self._ids(written.text)
            return self._readable(before[: common_prefix(before, whole)]) or self.start
        self._check_plain(messages, tools)
        return self.prompt(messages[0]["content"])

    def messages(self, messages: Sequence[dict[str, Any]], tools: Sequence[Any] = ()) -> Example:
        """A conversation; the tokens of every assistant turn are the labels, but of those whose `weight` is 0.

        Without a chat template only one question and its answer can be written. Raises `InputError` for others, and
        for one of which the chat template leaves out or alters something: some of its answers would go unforgotten
        without a word.
        """
        if isinstance(self.template, ChatTemplate):
            return self._conversation(messages, tools)
        self._check_plain(messages, tools)
        question, answer = (message["content"] for message in messages)
        alone = self.tokenizer(self.template.ask(question))["input_ids"]
        whole = self._ended(self.tokenizer(self.template.render(question, answer))["input_ids"])
        return self._labelled(whole, [(common_prefix(alone, whole), len(whole))])

    @staticmethod
    def _check_plain(messages: Sequence[dict[str, Any]], tools: Sequence[Any]) -> None:
        reason = None
        if [message["role"] for message in messages] != ["user", "assistant"]:
            reason = f"a conversation of {len(messages)} messages, only a user's question and the assistant's answer"
        elif tools or any(message.keys() - {"role", "content", "name", "weight"} for message in messages):
            reason = "tools, thoughts and calls, only a user's question and the assistant's answer"
        if reason:
            raise InputError(
                Problem("data.template", f"it cannot write {reason}.",
                        "Use a model with a chat template, or cut the conversations into questions and answers.")
            )  # fmt: skip

    def text(self, text: str) -> list[Example]:
        """Plain text, cut into chunks of `max_length` tokens; every token is a label once.

        Where the tokenizer sets BOS every chunk begins with it. Otherwise the text's first token is no label, and every
        later chunk begins with the last token of the one before.
        """
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        bos = self._beginning
        # The first token of a chunk is not predicted: it is BOS, or the last token of the chunk before.
        step = self.max_length - 1
        chunks = [
            (bos or ids[max(start - 1, 0) : start]) + ids[start : start + step]
            for start in range(0, len(ids), step)
        ]
        return [self._labelled(chunk, [(1, len(chunk))]) for chunk in chunks if len(chunk) > 1]

    def opening(self, text: str) -> list[int]:
        """Token ids of plain text that is to be continued: after BOS where the tokenizer sets one, without EOS."""
        return [*self._beginning, *self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def continuation(self, text: str, more: str) -> Example:
        """Plain text and its continuation `more`, whose tokens are the labels. Nothing is cut off or added at the end.

        Both are tokenised as one text, so a token across the boundary is a label.
        """
        whole = self.opening(text + more)
        start = common_prefix(self.opening(text), whole)
        return Example(whole, [IGNORED] * start + whole[start:])

    @property
    def start(self) -> list[int]:
        """The token before text that follows nothing: BOS, or EOS, which stands between texts in pretraining.

        Raises `InputError` where the tokenizer has neither.
        """
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return [int(token)]
        raise InputError(
            Problem("data.retain", "the tokenizer has neither BOS nor EOS, so the model has nothing to begin from.",
                    "Give a retain set of your own.")
        )  # fmt: skip

    @property
    def question_opening(self) -> list[int]:
        """The token ids before a question: the template's beginning, else `start`."""
        before, _ = self._around_question
        if isinstance(self.template, ChatTemplate):
            ids = self.tokenizer(before, add_special_tokens=False)["input_ids"]
        else:
            whole = self.tokenizer(self.template.render("x", "x"))["input_ids"]
            ids = whole[: common_prefix(self.tokenizer(before.rstrip(" "))["input_ids"], whole)]
        return ids or self.start

    def question_begun(self, beginning: str) -> list[int]:
        """The token ids up to the `beginning` of a question that is to be continued."""
        before, after = self._around_question
        if isinstance(self.template, ChatTemplate):
            tokenize, whole = self._ids, before + beginning + after
        else:
            tokenize, whole = (
                lambda text: self.tokenizer(text)["input_ids"],
                self.template.render(beginning, "x"),
            )
        ids = tokenize(whole)
        return self._readable(ids[: common_prefix(tokenize(before + beginning), ids)])

    @property
    def question_closing(self) -> str:
        """The template's text between a question and its answer, without the space around it unless it is all space."""
        _, after = self._around_question
        return after.strip() or after.rstrip(" ")

    @property
    def _around_question(self) -> tuple[str, str]:
        place = "{question}"
        if isinstance(self.template, ChatTemplate):
            text = ChatWriter(self.tokenizer).text(_turns(place), generation_prompt=True)
        else:
            text = self.template.prompt + self.template.answer.partition("{answer}")[0]
        before, _, after = text.partition(place)
        return before, after

    @property
    def _beginning(self) -> list[int]:
        """BOS where the tokenizer puts one before every text, else nothing."""
        first = self.tokenizer("")["input_ids"][:1]
        return first if first and first[0] == self.tokenizer.bos_token_id else []

    def _conversation(self, messages: Sequence[dict[str, Any]], tools: Sequence[Any]) -> Example:
        written = ChatWriter(self.tokenizer, tools).conversation(messages)
        text = written.text.rstrip()
        ids = self._ids(text)
        whole = len(ids)
        if not written.closed:  # the template closes no turn
            ids = self._ended(ids)
        spans = [
            (
                common_prefix(self._ids(text[:start]), ids),
                len(ids) if end >= len(text) else common_prefix(self._ids(text[:end]), ids[:whole]),
            )
            for start, end in written.spans
        ]
        return self._labelled(ids, spans)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _readable(self, ids: list[int]) -> list[int]:
        """The ids. Raises `InputError` where the model's embedding lacks one."""
        beyond = max(ids, default=0)
        if beyond >= self.vocabulary:
            raise InputError(
                Problem("data.template", f"the tokenizer makes the token {beyond} of it, and the model's embedding "
                        f"ends at {self.vocabulary - 1}.",
                        "Use the tokenizer that the model was trained with, or enlarge the embedding "
                        "(resize_token_embeddings) and train it.")
            )  # fmt: skip
        return ids

    def _ended(self, ids: list[int]) -> list[int]:
        end = self.tokenizer.eos_token_id
        return ids if end is None or (ids and ids[-1] == end) else [*ids, end]

    def _labelled(self, ids: list[int], spans: Sequence[tuple[int, int]]) -> Example:
        labels = [IGNORED] * len(ids)
        for start, end in spans:
            labels[start:end] = ids[start:end]
        end = self.max_length
        self._readable(ids[:end])
        return Example(ids[:end], labels[:end], any(label != IGNORED for label in labels[end:]))


def say_what_is_cut(examples: Iterable[Example], max_length: int, option: str) -> None:
    """Tell the user of answers whose end is left out. option: what sets `max_length`"""
    count = sum(example.cut for example in examples)
    if count:
        say(
            f"{count} answer(s) end beyond {max_length} tokens and are cut off there: what follows is neither trained "
            f"on nor measured. {option} sets the length."
        )


def collate(examples: Sequence[Example], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Pad on the right to the longest example.

    Returns `input_ids`, `attention_mask` and `labels`, all (batch, length), int64. A batch of no examples has
    length 1, so that a model can still be called with it.
    """
    length = max((len(example) for example in examples), default=1)
    shape = (len(examples), length)
    batch = {
        "input_ids": torch.full(shape, pad_token_id, dtype=torch.long),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
        "labels": torch.full(shape, IGNORED, dtype=torch.long),
    }
    for row, example in enumerate(examples):
        batch["input_ids"][row, : len(example)] = torch.tensor(example.input_ids)
        batch["attention_mask"][row, : len(example)] = 1
        batch["labels"][row, : len(example)] = torch.tensor(example.labels)
    return batch


def _turns(question: str, answer: str | None = None) -> list[dict[str, str]]:
    turns = [{"role": "user", "content": question}]
    return turns if answer is None else [*turns, {"role": "assistant", "content": answer}]
