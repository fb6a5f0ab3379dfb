"""The messages of a conversation as people's files write them: OpenAI's `messages`, ShareGPT's `conversations`.

Read are role and content (or `from` and `value`), calls (`tool_calls`) and thoughts
(`reasoning_content`), and whether a message counts as an answer (`weight`); beside them the row's `system` and `tools`.
Content is text, or a list of parts of text. Other content is refused: Python would make some text of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

#: Roles that chat templates know.
ROLES = {"system", "developer", "user", "assistant", "tool", "function", "ipython", "environment"}
#: Other tools' names of them.
ALIASES = {
    "human": "user", "prompter": "user",
    "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant",
}  # fmt: skip
#: Where an assistant's thoughts are kept; transformers hands them to a template under every one of these names.
REASONING = ("reasoning_content", "reasoning", "thinking")
#: Whether a message is an answer to learn or to forget: OpenAI's key, and those of finetuning tools.
COUNTS = ("weight", "train", "loss")
#: Keys that are handed to the chat template as they are.
TEMPLATES_OWN = ("name", "tool_call_id", *REASONING)
READ = {"role", "from", "content", "value", "tool_calls", *TEMPLATES_OWN, *COUNTS}
#: Keys that hold a part of what was said, which no chat template of a text model writes.
REFUSED = ("function_call", "audio", "images", "videos")

#: role, content, other keys for the chat template.
Message = dict[str, Any]


class NoMessage(ValueError):
    """A message that cannot be read, with reason and remedy."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def read_messages(given: Any) -> list[Message]:
    """Messages of role and content, both text, and the other keys that are read. Raises `NoMessage`."""
    if not isinstance(given, list):
        raise NoMessage("there is no list of messages.", "Give role and content of each message.")
    return [_message(message, number) for number, message in enumerate(given, start=1)]


def unread(given: Any) -> set[str]:
    """The keys of messages that are not read."""
    messages = [message for message in given if isinstance(message, dict)] if isinstance(given, list) else []
    return {key for message in messages for key, value in message.items() if value is not None} - READ


def read_tools(given: Any) -> list[Any]:
    """A row's `tools`: a list of objects, or such a list as JSON, as csv and parquet files hold it."""
    tools = _parsed(given)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise NoMessage(
            "its `tools` are no list of objects.", "Write them as the chat template expects them."
        )
    return tools


def _message(given: Any, number: int) -> Message:
    if not isinstance(given, dict) or not ("role" in given or "from" in given):
        raise NoMessage("there is no list of messages.", "Give role and content of each message.")
    role = _role(given.get("role", given.get("from")), number)
    # Parquet files give every message every key.
    given = {key: value for key, value in given.items() if value is not None}
    for key in REFUSED:
        if given.get(key):
            raise NoMessage(
                f"message {number} holds {key!r}, which is not read.",
                "Write it as text, or leave the row out.",
            )
    message: Message = {"role": role}
    if given.get("tool_calls"):
        message["tool_calls"] = _tool_calls(given["tool_calls"], number)
    content = given.get("content", given.get("value"))
    if content is None and ("tool_calls" not in message or role != "assistant"):
        raise NoMessage(f"message {number} has no content.", "Give role and content of each message.")
    message["content"] = "" if content is None else _text(content, number)
    for key in TEMPLATES_OWN:
        if given.get(key):
            message[key] = _text(given[key], number)
    if role == "assistant" and not _counts(given, number):
        message["weight"] = 0
    return message


def _role(given: Any, number: int) -> str:
    role = given.strip().lower() if isinstance(given, str) else ""
    role = ALIASES.get(role, role)
    if role not in ROLES:
        called = (
            f"is called {given[:40]!r}" if isinstance(given, str) else f"is of type {type(given).__name__}"
        )
        raise NoMessage(
            f"the role of message {number} {called}, which no chat template knows.",
            "Use system, user, assistant or tool.",
        )
    return role


def _text(content: Any, number: int) -> str:
    """Text as it is, and the text of parts one after the other, as templates that know parts write them."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise NoMessage(f"the content of message {number} is of type {type(content).__name__}, not text.",
                        "Write it as text, in quotes.")  # fmt: skip
    texts = []
    for part in content:
        if isinstance(part, dict):
            kind, part = part.get("type", "text"), part.get("text")
            if kind != "text":
                raise NoMessage(f"the content of message {number} holds a part of type {str(kind)[:40]!r}, not text.",
                                "Leave the part out, or the row.")  # fmt: skip
        if not isinstance(part, str):
            raise NoMessage(f"the content of message {number} holds a part of type {type(part).__name__}, not text.",
                            'Write {"type": "text", "text": ...}.')  # fmt: skip
        texts.append(part)
    return "".join(texts)


def _counts(given: Mapping[str, Any], number: int) -> bool:
    """Whether an assistant's message is an answer: `weight: 0` and `train: false` say that it is context."""
    for key in COUNTS:
        if key in given and given[key] not in (0, 1):
            raise NoMessage(f"the {key!r} of message {number} is neither 0 nor 1.",
                            "A message counts as an answer or not at all.")  # fmt: skip
    return all(given.get(key, 1) == 1 for key in COUNTS)


def _tool_calls(given: Any, number: int) -> list[Any]:
    """Calls with their arguments as objects, which chat templates expect; OpenAI writes them as JSON."""
    calls = _parsed(given)
    functions: Sequence[Any] = []
    if isinstance(calls, list) and all(isinstance(call, dict) for call in calls):
        functions = [call.get("function") for call in calls]
    if not functions or not all(
        isinstance(function, dict) and isinstance(function.get("name"), str) and function["name"].strip()
        for function in functions
    ):
        raise NoMessage(f"the `tool_calls` of message {number} name no functions.",
                        "Write each as {function: {name: ..., arguments: ...}}.")  # fmt: skip
    return [
        {
            **call,
            "function": {**call["function"], "arguments": _parsed(call["function"].get("arguments") or {})},
        }
        for call in calls
    ]


def _parsed(given: Any) -> Any:
    """The content of JSON text; anything else as it is."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given
