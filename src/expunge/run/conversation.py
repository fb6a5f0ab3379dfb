"""The same question to the models of a run: the original, the unlearned and, where there is one, the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from peft import PeftModel

from ..adapters.assistant import AssistedModel
from ..adapters.loading import load_model
from ..data.templates import ChatTemplate
from ..evaluation.generation import continuations
from ..evaluation.sampling import sampled_continuations
from ..folder.requests import ContinualFolder
from ..folder.run import RunFolder
from ..models.loading import load_config, load_tokenizer
from ..models.settings import Model
from ..progress import say
from .inputs import make_encoder
from .result import ContinualRun, Run

#: Gives the model within a block, in the state in which it is to answer.
Voice = Callable[[], AbstractContextManager[Any]]


class Conversation:
    """The models of a finished run, loaded once: the base is one object, whose adapter is switched off and on.

    Raises `InputError` where the run handed over no model, and where a model of its recipe is not there any more.
    """

    def __init__(self, run_folder: Path):
        several = ContinualFolder(run_folder)
        if several.state_file.exists():
            run: Run = ContinualRun(run_folder)
            handed_over = run.model()
            recipe, facts = several.requests.whole, several.document["data"]
        else:
            run = Run(run_folder)
            handed_over = run.model()
            recipe, facts = RunFolder(run_folder).recipe, run.state["data"]
        self.tokenizer = load_tokenizer(recipe.model)
        self.encoder = make_encoder(self.tokenizer, recipe.data, load_config(recipe.model))
        self.continues = facts["format"] == "text" and not isinstance(self.encoder.template, ChatTemplate)
        self.seed = recipe.seed
        added = isinstance(run, ContinualRun) and bool(
            recipe.model.adapters
        )  # are a part of what was handed over
        if isinstance(handed_over, PeftModel) and not added:
            original: Voice = partial(_without_adapter, handed_over)
        elif isinstance(handed_over, AssistedModel):
            original = partial(nullcontext, handed_over.base)
        else:
            original = partial(nullcontext, load_model(recipe.model))
        self.voices: dict[str, Voice] = {"original": original, "unlearned": partial(nullcontext, handed_over)}
        reference = recipe.evaluation.reference
        if reference is not None and Path(reference).is_file():
            say("The run's reference is a log, not a model: it cannot be asked.")
        elif reference is not None:
            model = load_model(Model(path=reference, dtype=recipe.model.dtype), "evaluation.reference")
            self.voices["reference"] = partial(nullcontext, model)

    def ask(self, question: str, max_new_tokens: int = 200, temperature: float = 0.0) -> dict[str, str]:
        """What each model writes, by its name.

        The question is put in the form that the run's questions have; of a run on plain text without a chat template
        it is the beginning of a text that is gone on with.
        temperature: 0 takes the likeliest token, above that it is drawn, with the same random numbers for every model
        """
        prompt = self.encoder.opening(question) if self.continues else self.encoder.prompt(question)
        if not prompt:  # of nothing
            prompt = self.encoder.start
        answers = {}
        for name, voice in self.voices.items():
            with voice() as model:
                if temperature:
                    written = sampled_continuations(
                        model,
                        self.tokenizer,
                        [prompt],
                        [[self.seed]],
                        [max_new_tokens],
                        temperature=temperature,
                    )
                else:
                    written = continuations(model, self.tokenizer, [prompt], max_new_tokens)
            answers[name] = self.tokenizer.decode(written[0].ids, skip_special_tokens=True).strip()
        return answers


@contextmanager
def _without_adapter(model: PeftModel) -> Iterator[PeftModel]:
    with model.disable_adapter():
        yield model
