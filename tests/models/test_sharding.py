"""A sharded model computes what it did, for processes that have unequally much to do.

The processes are this file, run as a script under torchrun.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from expunge.importance import measure_importance
from expunge.models.fingerprint import fingerprint, remember_fingerprint
from expunge.models.linear import linear_layers, weight_matrix
from expunge.models.processes import gathered, processes, share
from expunge.models.sharding import accompany, is_sharded, shard
from tiny_models import random_batch, random_model, split_batch


@pytest.mark.slow
def test_processes_with_unequally_much_to_do() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "3", __file__]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("compared") == 3


def main() -> None:
    torch.set_num_threads(1)
    state = processes()
    model = random_model()
    matrices = {name: weight_matrix(layer).clone() for name, layer in linear_layers(model).items()}
    batches = [random_batch(2, seed=seed) for seed in range(4)]
    answers = {number: logits(model, batch) for number, batch in enumerate(batches)}
    importance = measure_importance(model, batches)
    print_of = fingerprint(model)

    remember_fingerprint(model)
    shard(model, torch.device("cpu"))
    other = random_model("gpt2")  # its embeddings are one weight
    expected = logits(other, batches[0])
    shard(other, torch.device("cpu"))

    held = sum(weight.to_local().numel() for weight in model.parameters())
    assert held < 0.4 * sum(weight.numel() for weight in model.parameters())
    assert is_sharded(model)
    assert fingerprint(model) == print_of
    for name, layer in linear_layers(model).items():
        assert torch.equal(weight_matrix(layer), matrices[name])

    # Four batches for three processes, of which one makes further passes of its own.
    found = {number: logits(model, batches[number]) for number in share(range(4))}
    for _ in range(3 if state.process_index == 1 else 0):
        logits(model, batches[0])
    for number, of_batch in gathered(found).items():
        torch.testing.assert_close(of_batch, answers[number])

    # The last process has nothing to do but for the others: it has never run this model.
    if state.process_index < 2:
        torch.testing.assert_close(logits(other, batches[0]), expected)
    accompany()

    # Importance, with a backward pass for each: the first process has four batches of samples, the others one.
    if state.process_index == 0:
        mine = [part for batch in batches[:2] for part in split_batch(batch, 1)]
    else:
        mine = [batches[state.process_index + 1]]
    for name, rows in measure_importance(model, mine).items():
        torch.testing.assert_close(rows, importance[name], rtol=1e-4, atol=1e-6)
    print("compared", flush=True)


def logits(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


if __name__ == "__main__":
    main()
