"""README.md of a run folder: the model card of the unlearned model."""

from __future__ import annotations

from pathlib import Path

from ..adapters.settings import UNANCHORED
from ..folder.run import RunFolder, read_run_folder
from ..hub import is_hub_id
from ..storage import write_text
from .deliverable import deliverable
from .page import gather_evidence, overview, templates
from .recalled import recalled
from .tables import beneath, metric_rows, request_rows
from .verdict import judge, limits

#: The values that vLLM takes for `--max-lora-rank` (vllm.config.lora, MaxLoRARanks; 0.14).
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def write_model_card(run_folder: Path) -> Path:
    """Write `README.md` into a run folder, from the files in it alone, and return its path.

    It never holds text of the data set. Raises `InputError` when `run_folder` is no run folder or a file in
    it cannot be read.
    """
    folder = read_run_folder(Path(run_folder))
    evidence = gather_evidence(folder)
    model, form = folder.state.model.path, folder.state.deliverable
    rank = adapter_rank(folder)
    text = (
        templates()
        .get_template("card.md.j2")
        .render(
            run=overview(folder),
            model=model,
            hub_id=model if form != "merged" and is_hub_id(model) else None,
            verdict=judge(evidence),
            recalled=recalled(evidence),
            handed_over=folder.state.ended is None,
            limits=limits(evidence),
            request=request_rows(folder),
            metrics=metric_rows(folder),
            rank=rank,
            vllm_rank=vllm_rank(rank),
            merged=folder.merged.is_dir(),
            deliverable=deliverable(folder),
            form=form,
            beneath=beneath(folder),
        )
    )
    write_text(folder.card_file, text)
    return folder.card_file


def adapter_rank(folder: RunFolder) -> int | None:
    """The rank of the exported adapter: as its configuration says, else 2r, as the anchor is part of it.

    The `default` initialisation starts from zero and needs no anchor, so its rank stays r.
    """
    if folder.adapter_config.r:
        return folder.adapter_config.r
    adapter = folder.state.adapter
    if not adapter.rank:
        return None
    return adapter.rank * (1 if adapter.initialization in UNANCHORED else 2)


def vllm_rank(rank: int | None) -> int | None:
    """The least `--max-lora-rank` that vLLM takes and the adapter fits in; None where it fits in none."""
    return next((allowed for allowed in VLLM_RANKS if rank and allowed >= rank), None)
