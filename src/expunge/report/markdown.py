"""Text from elsewhere in the model card: a name stays a name, whatever is written in it.

The names of runs, models, files and data sets are the user's or a stranger's. In Markdown they could open HTML, put an
image or a link on the page, end a line, and in a command to copy they could be a command of their own.
"""

from __future__ import annotations

import re
import shlex

#: Line breaks, other control characters, and those by which text changes its direction.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def prose(text: object) -> str:
    """In one line, as text: no HTML, no link, no code, no end of a table's cell."""
    escaped = _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`\[\]|])", r"\\\1", escaped)


def code(text: object) -> str:
    """In one line between backticks, of which there are more than in the text."""
    line = _line(text)
    longest = max((len(ticks) for ticks in re.findall("`+", line)), default=0)
    ticks, space = "`" * (longest + 1), " " * bool(longest)
    return f"{ticks}{space}{line}{space}{ticks}"


def argument(text: object) -> str:
    """As one argument of a shell's command, in one line."""
    return shlex.quote(_line(text))


def _line(text: object) -> str:
    return " ".join(_CONTROLS.sub(" ", str(text)).split())
