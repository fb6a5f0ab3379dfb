"""The trainer's steps do not depend on how they are cut into micro-batches, and saved checkpoints are whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.models.llama.modeling_llama import LlamaMLP

from expunge import attach_adapter
from expunge.adapters.anchor import REINFORCED, UNLEARN, reinforced_config
from expunge.adapters.attach import uniform_importance
from expunge.data.encoding import Example
from expunge.data.pairs import Pair
from expunge.errors import InputError
from expunge.models.answers import AnswerTokens, answer_tokens
from expunge.models.linear import block_index
from expunge.objectives import Objective, Outputs, StepTotals
from expunge.objectives.settings import ObjectiveSettings
from expunge.storage import read_json
from expunge.training import trainer as trainer_module
from expunge.training.objective import build_objective
from expunge.training.settings import Training
from expunge.training.train import build_trainer, saved_steps
from expunge.training.trainer import WEIGHTS_FILE, UnlearningTrainer
from tiny_models import random_batch, random_model


def examples(rows: int, seed: int) -> list[Example]:
    batch = random_batch(rows, length=14, seed=seed)
    lengths = batch["attention_mask"].sum(1).tolist()
    return [
        Example(ids[:length], labels[:length])
        for ids, labels, length in zip(
            batch["input_ids"].tolist(), batch["labels"].tolist(), lengths, strict=True
        )
    ]


#: Hyper-parameters that a model of two blocks needs.
SETTINGS = {"rmu": {"layer": 1}}
RETAIN_WEIGHT = 2.0
FORGET, RETAIN, SUBSTITUTES = examples(32, 4), examples(50, 5), examples(32, 6)


def adapted(seed: int = 0):
    """A model whose trained adapter has left its start, and which has a reinforced one as well."""
    torch.manual_seed(seed)
    base = random_model()
    model = attach_adapter(base, uniform_importance(base), rank=3, alpha=6)
    model.add_adapter(REINFORCED, reinforced_config(model))
    for name, parameter in model.named_parameters():
        if f".{UNLEARN}." in name or f".{REINFORCED}." in name:
            parameter.data.add_(0.02 * torch.randn_like(parameter))
    return model


def train(folder: Path, forget: str = "ihl", retain: str = "nll", callbacks=(), resume=None, **settings):
    model = adapted()
    training = Training(**{"epochs": 1, "batch_size": 32, "micro_batch_size": 8, "learning_rate": 1e-2,
                           "warmup": 0, "weight_decay": 0.0, **settings})  # fmt: skip
    trainer = build_trainer(
        model,
        FORGET,
        RETAIN,
        SUBSTITUTES,
        objective=build_objective(
            ObjectiveSettings(
                forget=forget, retain=retain, retain_weight=RETAIN_WEIGHT, **SETTINGS.get(forget, {})
            )
        ),
        training=training,
        seed=3,
        pad_token_id=0,
        checkpoints=folder,
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    weights = {n: p.detach().clone() for n, p in model.named_parameters() if f".{UNLEARN}." in n}
    return weights, trainer


def gradient_of_one_step(objective: Objective, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
    """The oracle: the gradient of the whole step's loss, one pair at a time, each kind of model a model of its own."""
    model, original, reinforced = (adapted() for _ in range(3))
    reinforced.set_adapter(REINFORCED)
    layer = objective.hidden_layer

    def run(found, example: Example):
        batch = {
            "input_ids": torch.tensor([example.input_ids]),
            "attention_mask": torch.ones(1, len(example), dtype=torch.long),
            "labels": torch.tensor([example.labels]),
        }
        return answer_tokens(found, batch, layer)

    instead, terms = objective.instead, {term.side: term for term in objective.terms}
    sides = [[substitute if instead else forget for forget, _, substitute in pairs]]
    sides += [[retain for _, retain, _ in pairs if retain]]
    totals = [StepTotals(sum(e.label_count for e in side), len(side)) for side in sides]
    for forget, retain, substitute in pairs:
        seen = substitute if instead else forget
        with torch.no_grad(), original.disable_adapter():
            of_original = [run(original, example) for example in (seen, substitute)]
        with torch.no_grad():
            of_reinforced = run(reinforced, seen)
        outputs = Outputs(
            run(model, seen), of_original[0], of_reinforced, run(model, substitute), of_original[1]
        )
        objective.share(terms["forget"], outputs, totals[0]).backward()
        if retain is not None and "retain" in terms:
            with torch.no_grad(), original.disable_adapter():
                kept = run(original, retain)
            loss = objective.share(terms["retain"], Outputs(run(model, retain), kept), totals[1])
            (RETAIN_WEIGHT * loss).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@contextmanager
def count_block_passes():
    """How often the MLP of any block has passed forward, as the only item of a list."""
    count, forward = [0], LlamaMLP.forward

    def counting(*arguments, **options):
        count[0] += 1
        return forward(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LlamaMLP, "forward", counting)
        yield count


def observed(observe: Callable[[AnswerTokens], object]):
    """`answer_tokens` that shows what it found."""

    def observing(*arguments, **options):
        found = answer_tokens(*arguments, **options)
        observe(found)
        return found

    return observing


class Gradients:
    """A callback that keeps the gradients of the first optimiser step."""

    def __new__(cls):
        class Keeper(TrainerCallback):
            found = None

            def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
                if self.found is None:
                    self.found = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}

        return Keeper()


#: Losses that ask for every kind of output.
KINDS = [("ihl", "nll"), ("ga", "none"), ("npo", "nll"), ("simnpo", "kl"), ("idk", "nll"), ("dpo", "kl"),
         ("whp", "nll"), ("rmu", "rmu")]  # fmt: skip


@pytest.mark.parametrize(
    ("forget", "retain", "micro"),
    [(*kind, 8) for kind in KINDS] + [(*kind, micro) for kind in KINDS[:3] for micro in (32, 5)],
)
def test_32_at_once_and_8_times_4_give_the_gradient_of_the_whole_step(
    tmp_path: Path, forget: str, retain: str, micro: int
) -> None:
    batch_size = 30 if micro == 5 else 32
    keeper = Gradients()
    _, trainer = train(
        tmp_path, forget, retain, [keeper], micro_batch_size=micro, batch_size=batch_size, max_grad_norm=0
    )
    order = list(trainer._get_train_sampler())[:batch_size]
    pairs = [
        (FORGET[index], None if kept is None else RETAIN[kept], SUBSTITUTES[index]) for index, kept in order
    ]
    wanted = gradient_of_one_step(trainer.objective, pairs)
    assert keeper.found.keys() == wanted.keys()
    for name, gradient in keeper.found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("forget", "retain"), [("ihl", "nll"), ("npo", "kl"), ("rmu", "rmu")])
def test_recomputed_activations_change_no_gradient(tmp_path: Path, forget: str, retain: str) -> None:
    """Each block passes forward twice; losses that look at its hidden states see those of the first time."""
    found, passes = {}, {}
    for recomputed in (False, True):
        keeper = Gradients()
        with count_block_passes() as count:
            train(
                tmp_path / str(recomputed), forget, retain, [keeper], batch_size=32, max_grad_norm=0,
                activation_checkpointing=recomputed,
            )  # fmt: skip
        found[recomputed], passes[recomputed] = keeper.found, count[0]
    for name, gradient in found[True].items():
        torch.testing.assert_close(gradient, found[False][name], rtol=1e-5, atol=1e-8)
    # Four micro-batches of a model of two blocks.
    assert passes[True] - passes[False] == 4 * 2


@pytest.mark.parametrize(("retain", "trained"), [("rmu", {0}), ("nll", {0, 1})])
def test_blocks_after_the_last_one_that_a_loss_looks_at_are_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retain: str, trained: set[int]
) -> None:
    monkeypatch.setitem(SETTINGS, "rmu", {"layer": 0})
    weights, _ = train(tmp_path, "rmu", retain)
    start = dict(adapted().named_parameters())
    moved = {block_index(name) for name, weight in weights.items() if not torch.equal(weight, start[name])}
    assert moved == trained


def test_logged_losses_are_those_of_the_whole_step(tmp_path: Path) -> None:
    _, cut = train(tmp_path / "a", micro_batch_size=8)
    _, whole = train(tmp_path / "b", micro_batch_size=32)
    for name in ("forget_loss", "retain_loss"):
        assert cut.state.log_history[0][name] == pytest.approx(whole.state.log_history[0][name], rel=1e-5)
    assert 0.9 < whole.state.log_history[0]["forget_loss"] < 2


def test_one_process_uses_one_of_the_gpus_that_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `DataParallel` two of them would take 16 of the 32 pairs at a time, where 8 are asked for."""
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: 2))
    rows = []
    monkeypatch.setattr(trainer_module, "answer_tokens", observed(lambda found: rows.append(found.sequences)))
    _, trainer = train(tmp_path, batch_size=16, micro_batch_size=8)
    assert trainer.state.global_step == 2
    assert rows == [16] * 4  # 8 forget examples and 8 retain examples


@pytest.mark.parametrize(("forget", "retain"), [("ihl", "nll"), ("npo", "kl"), ("rmu", "rmu")])
def test_mixed_precision_keeps_logits_in_bf16_and_losses_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: str, retain: str
) -> None:
    """Logits in fp32 would be the largest tensor of a step; the machine's own setting is not asked."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    found = {}
    for precision in ("fp32", "bf16"):
        dtypes = []
        monkeypatch.setattr(
            trainer_module,
            "answer_tokens",
            observed(lambda tokens, seen=dtypes: seen.append((tokens.logits.dtype, tokens.log_probability.dtype))),
        )  # fmt: skip
        _, trainer = train(tmp_path / precision, forget, retain, batch_size=32, precision=precision)
        assert set(dtypes) == {(torch.float32 if precision == "fp32" else torch.bfloat16, torch.float32)}
        found[precision] = trainer.state.log_history[0]
    for name in ("forget_loss", "retain_loss", "grad_norm"):
        assert found["bf16"][name] != found["fp32"][name]
        assert found["bf16"][name] == pytest.approx(found["fp32"][name], rel=0.02), name


def test_training_is_deterministic_and_resumes_exactly(tmp_path: Path) -> None:
    """Stopped after epoch 1 of 3 and resumed in a new trainer: bit for bit the uninterrupted run's weights."""
    whole, _ = train(tmp_path / "a", "npo", epochs=3, batch_size=16)
    again, _ = train(tmp_path / "b", "npo", epochs=3, batch_size=16)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    checkpoints = saved_steps(tmp_path / "a")
    assert sorted(checkpoints) == [2, 4, 6]
    resumed, trainer = train(tmp_path / "c", "npo", epochs=3, batch_size=16, resume=str(checkpoints[2]))
    assert trainer.state.global_step == 6
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving that breaks off half-way leaves no checkpoint under its name."""

    def break_off(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer_module.os, "replace", break_off)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    assert saved_steps(tmp_path) == {}


def test_the_anchor_is_not_trained(tmp_path: Path) -> None:
    _, trainer = train(tmp_path, "npo")
    start = {n: p for n, p in adapted().named_parameters() if ".anchor." in n}
    end = {n: p for n, p in trainer.model.named_parameters() if ".anchor." in n}
    assert start
    assert all(torch.equal(start[name], end[name]) for name in start)


#: Of `pdu` here: λ starts at 2, and the retain loss of this model is far over the bound.
BOUND, RATE = 0.5, 0.25


def train_dual(folder: Path, logging_steps: int = 1, resume: Path | None = None):
    """Three epochs of two steps with a dual variable; returns λ after every step, the weights and the trainer."""
    model, course = adapted(), []
    trainer = build_trainer(
        model,
        FORGET,
        RETAIN,
        objective=build_objective(
            ObjectiveSettings(forget="pdu", retain_weight=2.0, retain_bound=BOUND, retain_rate=RATE)
        ),
        training=Training(epochs=3, batch_size=16, micro_batch_size=4, learning_rate=1e-2, warmup=0),
        seed=3,
        pad_token_id=0,
        checkpoints=folder,
        callbacks=[],
    )
    trainer.args.logging_steps = trainer.state.logging_steps = logging_steps
    weight = trainer.objective.terms[1].weight

    class Course(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            course.append(weight.value)

    trainer.add_callback(Course())
    trainer.train(resume_from_checkpoint=resume and str(resume))
    trained = {name: p.detach().clone() for name, p in model.named_parameters() if f".{UNLEARN}." in name}
    return course, trained, trainer


def test_the_dual_variable_follows_its_recursion(tmp_path: Path) -> None:
    """λ₀ = 2, λ_k+1 = max(0, λ_k + 0.25 · (L_k − 0.5)), with the losses that the log has."""
    course, _, trainer = train_dual(tmp_path)
    logged = [entry for entry in trainer.state.log_history if "retain_loss" in entry]
    assert len(course) == len(logged) == 6
    value = 2.0
    for after, entry in zip(course, logged, strict=True):
        assert entry["retain_weight"] == value
        value = max(0.0, value + RATE * (entry["retain_loss"] - BOUND))
        assert after == value
    assert course[-1] > 3


def test_a_rising_weight_goes_on_where_a_checkpoint_was(tmp_path: Path) -> None:
    """Three epochs of two steps, in one go and resumed after the first: λ = 1 + 7·k/5, and the same adapter."""

    def train(folder: Path, resume: Path | None = None):
        model = adapted()
        trainer = build_trainer(
            model, FORGET, RETAIN, objective=build_objective(ObjectiveSettings(retain_weight=(1.0, 8.0))),
            training=Training(epochs=3, batch_size=16, micro_batch_size=4, learning_rate=1e-2, warmup=0), seed=3,
            pad_token_id=0, checkpoints=folder, callbacks=[],
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume and str(resume))
        weights = [entry["retain_weight"] for entry in trainer.state.log_history if "retain_loss" in entry]
        return weights, {
            name: p.detach().clone() for name, p in model.named_parameters() if f".{UNLEARN}." in name
        }

    weights, whole = train(tmp_path / "whole")
    assert weights == pytest.approx([1.0, 2.4, 3.8, 5.2, 6.6, 8.0])
    again, resumed = train(tmp_path / "resumed", saved_steps(tmp_path / "whole")[2])
    assert again == weights  # the first two from the checkpoint's log
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_is_logged_changes_no_weight(tmp_path: Path) -> None:
    """Every fifth step in the log, with that step's own losses: the same course of λ, the same adapter."""
    course, trained, every = train_dual(tmp_path / "every")
    seldom_course, seldom_trained, seldom = train_dual(tmp_path / "seldom", logging_steps=5)
    assert seldom_course == course
    assert all(torch.equal(trained[name], seldom_trained[name]) for name in trained)
    [entry] = [entry for entry in seldom.state.log_history if "retain_loss" in entry]
    fifth = every.state.log_history[4]
    assert entry["step"] == 5
    for name in ("forget_loss", "retain_loss", "retain_weight"):
        assert entry[name] == fifth[name]


@pytest.mark.parametrize("kept", ["in its own file", "in the log alone"])
def test_the_dual_variable_goes_on_from_the_checkpoint(tmp_path: Path, kept: str) -> None:
    """Checkpoints from before the file was written have every step in their log: the result is the same."""
    course, trained, _ = train_dual(tmp_path / "whole")
    checkpoint = saved_steps(tmp_path / "whole")[4]
    assert read_json(checkpoint / WEIGHTS_FILE) == {"weights": [course[3]]}
    if kept == "in the log alone":
        (checkpoint / WEIGHTS_FILE).unlink()
    resumed_course, resumed, _ = train_dual(tmp_path / "resumed", resume=checkpoint)
    assert resumed_course == course[4:]
    assert all(torch.equal(trained[name], resumed[name]) for name in trained)


def test_a_checkpoint_of_seldom_logged_steps_goes_on_as_well(tmp_path: Path) -> None:
    course, trained, _ = train_dual(tmp_path / "whole", logging_steps=5)
    checkpoint = saved_steps(tmp_path / "whole")[4]
    resumed_course, resumed, _ = train_dual(tmp_path / "resumed", logging_steps=5, resume=checkpoint)
    assert resumed_course == course[4:]
    assert all(torch.equal(trained[name], resumed[name]) for name in trained)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weights": []}', '{"weights": ["much"]}'])
def test_a_damaged_dual_variable_is_named(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / WEIGHTS_FILE).write_text(content)
    trainer = UnlearningTrainer.__new__(UnlearningTrainer)
    trainer.objective = build_objective(ObjectiveSettings(forget="pdu"))
    with pytest.raises(InputError, match=f"{WEIGHTS_FILE}.*Delete"):
        trainer._load_weights(folder)


@pytest.mark.parametrize(
    ("warmup", "rates"),
    [
        # four steps, one of warm-up: 1/(w+1), then from the full rate down by thirds
        ("25%", [1 / 2, 1, 2 / 3, 1 / 3]),
        ("0%", [1, 3 / 4, 1 / 2, 1 / 4]),
        # as transformers has it: the first step does nothing
        (1, [0, 1, 2 / 3, 1 / 3]),
    ],
)
def test_rate_of_every_step(tmp_path: Path, warmup: str | int, rates: list[float]) -> None:
    _, trainer = train(tmp_path, warmup=warmup, batch_size=8)
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == pytest.approx([1e-2 * rate for rate in rates])


@pytest.mark.parametrize(("warmup", "rates"), [("50%", [1 / 3, 2 / 3, 1, 1]), ("0%", [1, 1, 1, 1])])
def test_a_constant_rate_is_warmed_up_to(tmp_path: Path, warmup: str, rates: list[float]) -> None:
    _, trainer = train(tmp_path, warmup=warmup, batch_size=8, schedule="constant")
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == pytest.approx([1e-2 * rate for rate in rates])


def test_goes_on_with_a_schedule_without_a_step_at_zero(tmp_path: Path) -> None:
    settings = {"epochs": 2, "warmup": "50%", "batch_size": 16}
    whole, _ = train(tmp_path, **settings)
    resumed, _ = train(tmp_path, **settings, resume=str(saved_steps(tmp_path)[2]))
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())
