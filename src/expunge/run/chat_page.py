"""The conversation with the models of a run as a local page, by Gradio.

The page is served on 127.0.0.1 alone and is not shared; Gradio's reports of its use are off, and no font is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InputError, Problem

#: Only this machine reaches it.
HOST = "127.0.0.1"


def load_gradio() -> Any:
    """The module, with its reports off. Raises `InputError` where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # is read when it is imported
    try:
        import gradio
    except ImportError:
        raise InputError(
            Problem("--web", "it needs gradio, which is not installed.", "pip install 'expunge[web]'")
        ) from None
    return gradio


def serve(gradio: Any, title: str, names: Sequence[str], ask: Callable[[str], dict[str, str]]) -> None:
    """Serve the page until it is interrupted.

    names: of the models, in the order of their columns
    ask:   a question → the answers by name
    """

    def answers(question: str) -> list[str]:
        found = ask(question)
        return [found[name] for name in names]

    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        question = gradio.Textbox(label="Question", autofocus=True)
        with gradio.Row():
            columns = [gradio.Textbox(label=name, lines=6, interactive=False) for name in names]
        question.submit(answers, question, columns, api_visibility="private", concurrency_limit=1)
    # Named system fonts: those of Gradio's own themes come from Google.
    theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    page.launch(
        server_name=HOST,
        share=False,
        theme=theme,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
    )
