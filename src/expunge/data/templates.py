"""The forms in which a question and its answer are written for a model.

A model answers well only in the format that it was finetuned with, so the template is part of the recipe
(`data.template`): `auto`, a name from `TEMPLATES`, or the user's own `{prompt: …, answer: …}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError, Problem


@dataclass(frozen=True)
class Template:
    """`prompt` holds `{question}`, `answer` holds `{answer}`; the text is one after the other."""

    prompt: str = "Question: {question}\nAnswer:"
    answer: str = " {answer}"

    def ask(self, question: str) -> str:
        """The text before the answer. Other braces, of JSON or LaTeX say, stay as they are."""
        return self.prompt.replace("{question}", question)

    def render(self, question: str, answer: str) -> str:
        return self.ask(question) + self.answer.replace("{answer}", answer)

    def describe(self) -> str:
        """The text with its places open, for logs."""
        return self.prompt + self.answer


@dataclass(frozen=True)
class ChatTemplate(Template):
    """The tokenizer's own chat template: the question is the user's turn, the answer the assistant's."""

    def describe(self) -> str:
        return "the tokenizer's chat template"


#: The templates that TOFU was published with, beside the plain one. `chat` is the tokenizer's own.
TEMPLATES: dict[str, Template] = {
    "question-answer": Template(),
    "tofu-phi": Template("Question: {question}\nAnswer: ", "{answer}"),
    "tofu-llama2": Template("[INST] {question} [/INST]", "{answer}"),
    "chat": ChatTemplate(),
}


def choose_template(name: str, tokenizer: Any) -> Template:
    """`auto` takes the tokenizer's chat template where it has one, else the plain question-answer form.

    Raises `InputError` for `chat` where the tokenizer has none.
    """
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if name == "auto":
        name = "chat" if has_chat else "question-answer"
    if name == "chat" and not has_chat:
        raise InputError(
            Problem(
                "data.template", "this tokenizer has no chat template.", "Use 'auto' or 'question-answer'."
            )
        )
    return TEMPLATES[name]
