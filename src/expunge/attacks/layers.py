"""Where in the layers of a model an answer can still be read: activation patching and the logit lens.

Lee, Kim and Jo (2026), *Measuring the Depth of LLM Unlearning via Activation Patching* (arXiv:2605.24614). The target
is always the original model; the source is the model whose knowledge is in question. Both read the same question and
answer, teacher-forced. At the positions that predict the answer's tokens the target's hidden states are replaced by
the source's, and the target goes on from there: what it then knows of the answer it has from the source's states.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from torch import Tensor

from ..data.encoding import Example, collate
from ..evaluation.inference import batches_by_length, inference
from ..evaluation.likelihood import TOKENS_PER_BATCH
from ..models.answers import IGNORED, answer_tokens
from ..models.blocks import block_outputs, replaced_output, transformer_blocks
from ..progress import track

#: τ: a layer counts for an answer where the reference's states cost the original more than this, in nats a token.
LEAST_GAP = 0.05


def patched_log_probability(
    original: Any, source: Any, examples: Sequence[Example], pad_token_id: int
) -> np.ndarray:
    """What the original says of every answer when it goes on from the source's states after block l, (items, layers).

    Mean log p over the answer's tokens, in nats (s^S of equation 2). original, source: causal LMs of one architecture
    on one device; their modes are kept. examples: with at least one label token each.

    For every batch a pass of the source, and one of the original for each layer.
    """
    return _read_layers(original, source, examples, pad_token_id, lens=False)


def lens_log_probability(
    original: Any, source: Any, examples: Sequence[Example], pad_token_id: int
) -> np.ndarray:
    """What the original's last norm and output embedding read at once in the source's states after block l (logit
    lens), (items, layers); else as `patched_log_probability`, which on the last layer is the same."""
    return _read_layers(original, source, examples, pad_token_id, lens=True)


def _read_layers(
    original: Any, source: Any, examples: Sequence[Example], pad_token_id: int, lens: bool
) -> np.ndarray:
    layers = len(transformer_blocks(original))
    values = np.zeros((len(examples), layers))
    with inference(original) as device, inference(source):
        limit = TOKENS_PER_BATCH.get(device.type, TOKENS_PER_BATCH["accelerator"])
        batches = batches_by_length([len(example) for example in examples], limit)
        for rows in track(batches, "Reading the layers"):
            batch = collate([examples[row] for row in rows], pad_token_id)
            batch = {key: value.to(device) for key, value in batch.items()}
            for layer, states in enumerate(_answer_states(source, batch, layers)):
                # After the last block come the norm and the output embedding alone.
                values[rows, layer] = _read(original, batch, layers - 1 if lens else layer, states)
    return values


def _answer_states(model: Any, batch: dict[str, Tensor], layers: int) -> list[Tensor]:
    """The hidden states (N, d) after every block, at the positions that predict the N label tokens."""
    with ExitStack() as stack:
        watched = [stack.enter_context(block_outputs(model, layer)) for layer in range(layers)]
        answer_tokens(model, batch)
    return [states[0][_predicting(batch)] for states in watched]


def _read(original: Any, batch: dict[str, Tensor], layer: int, states: Tensor) -> np.ndarray:
    """Mean log p of each row's label tokens under the original with these states after block `layer`, (rows,) fp64."""
    with replaced_output(original, layer, _predicting(batch), states):
        tokens = answer_tokens(original, batch)
    sums = tokens.sum_by_sequence(tokens.log_probability.double())
    return (sums / tokens.token_counts).cpu().numpy()


def _predicting(batch: dict[str, Tensor]) -> Tensor:
    """(batch, length − 1) bool: the positions whose next token is a label, as `answer_tokens` cuts the batch."""
    return batch["labels"][:, 1:] != IGNORED


def unlearning_depth(lost: np.ndarray, lost_by_reference: np.ndarray) -> np.ndarray:
    """UDS of every answer (equations 4 to 6 of the paper), (items,): 1 is erased as deeply as in the reference, 0 is
    intact; NaN where no layer counts, because the original knows the answer no better than the reference does.

    lost, lost_by_reference: Δ_l (items, layers), the original's mean log p of the answer less that with the states of
        the model in question, or of the reference, after block l

    Layers with Δ_l of the reference > τ = 0.05 count, with the weight Δ_l; the ratio of both is clipped to [0, 1].
    """
    counts = lost_by_reference > LEAST_GAP
    weight = np.where(counts, lost_by_reference, 0.0)
    # Δ · clip(ratio, 0, 1) without the division, which has no value for a layer that does not count.
    erased = np.clip(lost, 0.0, weight)
    with np.errstate(invalid="ignore"):
        return erased.sum(1) / weight.sum(1)
