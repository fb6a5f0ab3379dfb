"""The cost model: counts against what really ran, and seconds against arithmetic by hand."""

from __future__ import annotations

import gc
import math
import time
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig

from expunge.adapters.attach import attach_adapter, uniform_importance
from expunge.cost import device_speed, operations, shallow_models, trial_passes
from expunge.cost import model as cost_model
from expunge.cost.device_speed import DeviceSpeed, measure_speed
from expunge.cost.model import CostModel, adapter_bytes, weight_bytes
from expunge.cost.operations import Work, counted
from expunge.cost.passes import Batches, Passes
from expunge.cost.plan import predicted_costs
from expunge.cost.shallow_models import ShallowModels, Shape
from expunge.cost.trial_passes import TrialPasses
from expunge.data.encoding import Example
from expunge.importance import measure_importance
from expunge.importance.estimator import Layer
from expunge.importance.factored import Factored
from expunge.models.answers import IGNORED, answer_tokens
from expunge.models.linear import linear_layers, matrix_shape
from expunge.models.loading import empty_model
from expunge.models.probe import input_shapes
from expunge.recipe import load_recipe
from expunge.run.inputs import Inputs
from tiny_models import SHAPES, VOCABULARY, random_model

SPEED = DeviceSpeed(flops=1e9, bytes=1e8, kernel=1e-5)
META = torch.device("meta")


def full_batch(shape: Shape) -> dict[str, torch.Tensor]:
    """Rows without padding whose last `answers` tokens are labels."""
    ids = torch.randint(1, VOCABULARY, (shape.rows, shape.length), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, : shape.length - shape.answers] = IGNORED
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


class TestCounting:
    def test_a_product_its_traffic_and_its_memory(self) -> None:
        """(3 × 4)(4 × 5): 2·60 operations; 12 + 20 + 15 numbers moved; 15 alive. The sum of two such: 45 moved."""
        a, b = torch.empty(3, 4, device=META), torch.empty(4, 5, device=META)
        with counted() as found:
            product = a @ b
        assert found.work == Work(flops=120.0, moved=47 * 4.0, kernels=1.0, peak=60.0)
        with counted() as found:
            product + product
        assert found.work == Work(flops=0.0, moved=45 * 4.0, kernels=1.0, peak=60.0)

    def test_the_peak_is_what_is_alive_at_once(self) -> None:
        x = torch.empty(100, device=META)
        with counted() as found:
            kept = x + 1  # 400 bytes
            passing = kept + 1  # 800
            del passing
            other = kept + 1  # 800 again
        del other
        assert found.work.peak == 800

    def test_views_cost_nothing(self) -> None:
        with counted() as found:
            torch.empty(6, 4, device=META)[:, 1:].transpose(0, 1).unsqueeze(0)
        assert found.work.moved == 6 * 4 * 4  # `empty` alone
        assert found.work.kernels == 1

    def test_attention_forms_no_matrix_of_scores_but_its_products_count(self) -> None:
        """Scores and values: 2 · 2·heads·T²·d; with two keys and values for four queries these are repeated first."""
        query, key = torch.empty(1, 4, 64, 8, device=META), torch.empty(1, 2, 64, 8, device=META)
        with counted() as found:
            nn.functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)
        assert found.work.flops == 2 * 2 * 4 * 64 * 64 * 8
        assert found.work.peak < 4 * 64 * 64 * 4

    def test_depth_is_extrapolated(self) -> None:
        one, two = Work(10, 20, 3, 100), Work(14, 26, 4, 130)
        assert one.of_depth(two, 1) == one
        assert one.of_depth(two, 2) == two
        assert one.of_depth(two, 5) == Work(10 + 4 * 4, 20 + 4 * 6, 3 + 4 * 1, 100 + 4 * 30)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_scored_batch_costs_its_linear_layers_its_answers_and_its_attention(shape: str) -> None:
    """2·N for each of the positions that predict something, 2·V·d for each answer, 4·T²·d a layer for attention."""
    model, batch = random_model(shape), Shape(rows=3, length=9, answers=4)
    blocks = model.config.num_hidden_layers
    linear = sum(math.prod(matrix_shape(module)) for module in linear_layers(model).values())
    head = math.prod(model.get_output_embeddings().weight.shape)
    width = model.config.hidden_size
    wanted = 3 * (2 * linear * 8 + 2 * head * 4 + 4 * 8 * 8 * width * blocks)
    assert Passes(ShallowModels(model.config, torch.float32)).scored(batch).flops == wanted


@pytest.mark.parametrize("estimator", ["factored", "vila", "fila"])
def test_a_measured_batch_counts_what_really_ran(estimator: str) -> None:
    """Against torch's counter on the real computation, which leaves out attention on a CPU: 4·T²·d forward, 10 back."""
    model, batch = random_model(), Shape(rows=3, length=9, answers=4)
    input_shapes(model)  # a small pass, once a model
    with FlopCounterMode(display=False) as counter:
        measure_importance(model, [full_batch(batch)], estimator=estimator)
    maps = 2 * 8 * sum(math.prod(matrix_shape(layer)) for layer in linear_layers(model).values())
    of_the_rows = maps if estimator == "vila" else 0  # (d_out × 8)(8 × d_in), once for the set
    attention = 3 * 14 * 8 * 8 * 24 * 2
    found = Passes(ShallowModels(model.config, torch.float32)).measured(batch, estimator)
    assert found.flops == pytest.approx(counter.get_total_flops() - of_the_rows + attention, rel=0.01)


def test_training_counts_what_really_ran() -> None:
    model, batch = random_model(), Shape(rows=4, length=9, answers=4)
    with FlopCounterMode(display=False) as counter:
        answer_tokens(model, full_batch(batch)).log_probability.sum().backward()
    attention = 4 * 14 * 8 * 8 * 24 * 2
    found = Passes(ShallowModels(model.config, torch.float32)).trained(batch, adapters=False)
    assert found.flops == pytest.approx(counter.get_total_flops() + attention, rel=0.01)
    adapted = Passes(ShallowModels(model.config, torch.float32, rank=2)).trained(batch)
    assert adapted.flops < found.flops  # no weight gradients


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_mixed_precision_is_counted_as_autocast_runs_it(shape: str) -> None:
    """The same pass of a bf16 model with adapters in fp32, for real, kernel by kernel.

    There the mask of every layer becomes bf16 (3 % of the peak at this size). GPT-2's dropout is taken away: with it a
    CPU forms the matrix of scores.
    """
    config, batch = random_model(shape).config, Shape(rows=6, length=33, answers=20)
    config.attn_pdrop = 0.0
    models = ShallowModels(config, torch.bfloat16, rank=2, mixed=True)
    real = models.adapted(2, torch.device("cpu"))
    lora = {p.dtype for name, p in real.named_parameters() if "lora_" in name}
    assert lora == {torch.float32}
    with operations._Counter() as ran:
        shallow_models.trained(real, batch, mixed=True)
    passes = Passes(models).trained(batch, depth=2)
    assert passes.flops == ran.flops
    assert passes.peak == pytest.approx(ran.peak, rel=0.04)
    assert passes.moved == pytest.approx(ran.moved, rel=0.02)
    assert passes.kernels == pytest.approx(ran.kernels, rel=0.02)


def test_scoring_in_bf16_is_counted_as_autocast_runs_it() -> None:
    """The same passes of an fp32 model, for real. There the mask becomes bf16, 8 % of the peak at this size."""
    config, batch = random_model().config, Shape(rows=6, length=33, answers=20)
    real = ShallowModels(config, torch.float32).plain(2, torch.device("cpu"))
    passes = Passes(ShallowModels(config, torch.float32, fast=True))
    with operations._Counter() as ran:
        shallow_models.scored(real, batch, mixed=True)
    counted = passes.scored(batch, depth=2)
    assert counted.flops == ran.flops
    assert counted.peak == pytest.approx(ran.peak, rel=0.1)
    assert counted.moved == pytest.approx(ran.moved, rel=0.04)
    full = passes.scored(batch, depth=2, mixed=False)
    assert full == Passes(ShallowModels(config, torch.float32)).scored(batch, depth=2) != counted
    writing = passes.models.writing(2, torch.device("cpu"))
    assert {layer.weight.dtype for layer in linear_layers(writing).values()} == {torch.bfloat16}
    with operations._Counter() as ran:
        kept = shallow_models.prefilled(writing, 6, 20, mixed=True)
    assert passes.prefilled(6, 20, depth=2).moved == pytest.approx(ran.moved, rel=0.05)
    with operations._Counter() as ran:
        shallow_models.decoded(writing, 6, kept, mixed=True)
    assert passes.decoded(6, 20, depth=2).moved == pytest.approx(ran.moved, rel=0.05)


def test_quantised_are_the_linear_layers_alone() -> None:
    """Llama, 24 wide: four of 24², three of 24·40 in each of 2 blocks; in 4 bits every 64 numbers have a scale."""
    model = random_model("llama")
    linear, numbers = 2 * (4 * 24**2 + 3 * 24 * 40), sum(p.numel() for p in model.parameters())
    assert weight_bytes(model, torch.bfloat16) == 2 * numbers
    assert weight_bytes(model, torch.bfloat16, "8bit") == 2 * (numbers - linear) + linear
    assert (
        weight_bytes(model, torch.bfloat16, "4bit") == 2 * (numbers - linear) + linear / 2 + linear / 64 * 4
    )


def test_an_adapter_is_as_large_as_peft_and_adam_make_it() -> None:
    model = random_model().to(torch.bfloat16)
    adapted = attach_adapter(model, uniform_importance(model), rank=2)
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    sum(parameter.sum() for parameter in trained).backward()
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    held = sum(p.nbytes for name, p in adapted.named_parameters() if "lora_" in name)
    moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    beside = sum(p.grad.nbytes for p in trained) + sum(value.nbytes for value in moments)
    numbers = sum(parameter.numel() for parameter in trained)
    assert adapter_bytes(numbers) == held
    assert adapter_bytes(numbers, trained=True) == held + beside


def test_recomputed_blocks_pass_forward_once_more_and_keep_their_inputs() -> None:
    model, batch = random_model(), Shape(rows=4, length=9, answers=4)
    passes = Passes(ShallowModels(model.config, torch.float32))
    head = 2 * math.prod(model.get_output_embeddings().weight.shape) * 4 * 4
    plain, again = (passes.trained(batch, adapters=False, recomputed=each) for each in (False, True))
    assert again.flops - plain.flops == passes.scored(batch).flops - head
    deep, deeper = (passes.trained(batch, depth=depth, recomputed=True).peak for depth in (10, 11))
    assert deeper - deep == 4 * 9 * 24 * 4
    assert deep < passes.trained(batch, depth=10).peak / 3


def test_depth_and_context_are_counted() -> None:
    config = random_model().config
    shallow = Passes(ShallowModels(config, torch.float32)).scored(Shape(2, 9, 4))
    config.num_hidden_layers = 5
    config.layer_types = None
    deep = Passes(ShallowModels(config, torch.float32))
    block = 3 * 24 * 40 + 4 * 24 * 24
    assert deep.scored(Shape(2, 9, 4)).flops - shallow.flops == 3 * 2 * (2 * block * 8 + 4 * 8 * 8 * 24)
    first, then, later = deep.prefilled(2, 10), deep.decoded(2, 10), deep.decoded(2, 20)
    assert first.flops > 9 * then.flops
    # Ten more keys and values in each of five layers.
    assert later.flops - then.flops == 2 * 5 * 4 * 10 * 24


def test_statistics_of_an_estimator_are_counted_as_it_keeps_them() -> None:
    sums = Factored(Layer("", 600, 500, 8), torch.device("cpu")).sums(
        torch.ones(1, 2, 500), torch.ones(1, 2, 600)
    )
    wanted = sum(value.numel() * 4 for value in sums.values())
    assert (
        Passes(ShallowModels(random_model().config, torch.float32)).accumulated("factored", 600, 500)
        == wanted
    )
    assert wanted == 4 * 600 * 17


def test_of_few_samples_the_sketch_is_counted_as_wide_as_it_is() -> None:
    """Of eight 2 / (0.01 · 7)² = 408.2 wide; its products with x (T, d_in) and with δ (T, d_out) are 393 wider."""
    config = random_model().config
    config.hidden_size, config.head_dim, config.intermediate_size, config.num_hidden_layers = (
        512,
        256,
        1024,
        1,
    )
    passes, batch = Passes(ShallowModels(config, torch.float32)), Shape(rows=3, length=9, answers=4)
    assert passes.accumulated("factored", 600, 500, samples=8) == 4 * 600 * (1 + 409)
    many, few = (passes.measured(batch, "factored", samples=samples) for samples in (40, 8))
    inputs, outputs = (
        3 * 512 + 1024,
        4 * 512 + 2 * 1024 + 512,
    )  # query, key and value share one, gate and up another
    assert few.flops - many.flops == 2 * 3 * 8 * (409 - 16) * (inputs + outputs)


def test_batches_of_one_typical_shape_have_as_many_tokens() -> None:
    def example(length: int, answer: int) -> Example:
        return Example([1] * length, [IGNORED] * (length - answer) + [1] * answer)

    found = Batches.of([[example(10, 4), example(6, 2)], [example(20, 9), example(19, 9)]])
    assert found.shape == Shape(rows=2, length=15, answers=6)
    assert (found.count, found.largest) == (2, 40 / 30)


def test_seconds_are_operations_traffic_and_launches() -> None:
    """Of 10⁹ operations a second a model reaches 92 %, of 10⁸ bytes half; a launch takes 10 µs / 0.3."""
    work = Work(flops=2e9, moved=3e8, kernels=1e5)
    assert SPEED.seconds(work) == pytest.approx(2 / 0.92 + 3 / 0.5 + 1 / 0.3)


def test_the_speed_of_this_device_is_measured() -> None:
    found = measure_speed(torch.device("cpu"), torch.float32, tokens=64, width=64)
    assert 1e7 < found.flops < 1e14
    assert 1e7 < found.bytes < 1e14
    assert 1e-8 < found.kernel < 1e-1


def test_of_several_timings_the_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = iter([3.0, 1.0, 2.0, 5.0])
    monkeypatch.setattr(device_speed, "_timing", lambda run, device, clock: next(timings))
    assert device_speed.seconds_of(lambda: None, torch.device("cpu")) == 1.0


@pytest.mark.parametrize(("takes", "calls"), [(0.01, 4), (0.03, 4), (0.04, 3), (0.06, 2), (5.0, 2)])
def test_what_takes_long_is_timed_twice(takes: float, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All timings are to take a tenth of a second: of calls of five seconds four would take half a minute."""
    now = 0.0

    def timing(run: object, device: torch.device, clock: object) -> float:
        nonlocal now
        now += takes
        return now

    monkeypatch.setattr(device_speed.time, "thread_time", lambda: now)
    monkeypatch.setattr(device_speed, "_timing", timing)
    assert device_speed.seconds_of(lambda: None, torch.device("cpu")) == takes
    assert now == pytest.approx(calls * takes)


def test_what_a_thread_waits_for_others_is_not_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_speed, "MEASURING", 4e-3)
    x = torch.randn(64, 64)

    def run() -> None:
        time.sleep(2e-3)
        x @ x

    assert device_speed.seconds_of(run, torch.device("cpu")) < 1e-3


class TestPhases:
    def model(self, recipe: dict, **changes: object) -> CostModel:
        inputs = Inputs(load_recipe(recipe, [f"{key}={value}" for key, value in changes.items()]))
        return CostModel(inputs, empty_model(inputs.method.source), SPEED)

    def test_the_phases_of_a_run_and_their_sums(self, recipe: dict, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            cost_model, "decomposition_seconds", lambda device, d_out, d_in, rank: d_out + 1e-2 * d_in
        )
        model = self.model(recipe)
        phases = model.phases()
        assert list(phases) == ["baseline", "importance", "adapter", "training"]
        # 6 forget samples, batch 4, micro-batch 2: three micro-batches of two pairs in each of two epochs.
        assert model.batches.count == 3
        assert model.batches.shape.rows == 4
        evaluations = phases["baseline"]  # one measurement, with generations, as after each epoch
        work = model.passes.trained(model.batches.shape).times(3)
        assert phases["training"].flops == 2 * (work.flops + evaluations.flops)
        layers = 2 * (4 * 24.24 + 2 * 40.24 + 24.40)
        attaching = SPEED.seconds(Work(kernels=75 * 14))
        assert phases["adapter"].seconds == pytest.approx(layers + attaching)

    def test_what_a_recipe_leaves_out_costs_nothing(self, recipe: dict) -> None:
        every = self.model(recipe).phases()
        chosen = self.model(recipe, **{"evaluation.generate": "chosen"}).phases()
        never = self.model(recipe, **{"evaluation.generate": "never"}).phases()
        assert "evaluation" in chosen
        assert "evaluation" not in never
        assert every["training"].seconds > chosen["training"].seconds == never["training"].seconds
        assert "importance" not in self.model(recipe, **{"adapter.initialization": "pissa"}).phases()
        longer = self.model(recipe, **{"training.epochs": 6}).phases()
        start = SPEED.seconds(Work(kernels=6000))
        once = every["training"].seconds - start
        assert longer["training"].seconds == pytest.approx(start + 3 * once)

    def test_where_the_epochs_are_left_open_five_evaluations_are_paid_for(self, recipe: dict) -> None:
        """Two steps an epoch: 20 epochs make 40."""
        del recipe["training"]["epochs"]
        phases = self.model(recipe).phases()
        every = self.model(recipe, **{"evaluation.every": "epoch"}).phases()
        assert every["training"].flops - phases["training"].flops == pytest.approx(
            15 * phases["baseline"].flops
        )

    def test_the_search_for_a_rate_is_a_range(self, recipe: dict) -> None:
        """Of 6 trials of 6 epochs 2 are whole and 4 are left after 2 epochs: 3⅓ trainings; 2⅔ at least, 6 at most.

        What they go by needs no answers, so none are written before the evaluation of the chosen epoch.
        """
        recipe["training"]["epochs"] = 6
        chosen = self.model(recipe, **{"evaluation.generate": "chosen"}).phases()
        training = chosen["training"]
        del recipe["training"]["learning_rate"]
        phases = self.model(recipe).phases()
        assert phases["evaluation"].seconds == chosen["evaluation"].seconds > 0
        tuning = phases["tuning"]
        assert tuning.seconds == pytest.approx(10 / 3 * training.seconds)
        assert tuning.flops == pytest.approx(10 / 3 * training.flops)
        assert tuning.seconds - tuning.sooner == pytest.approx(8 / 3 * training.seconds)
        assert tuning.seconds + tuning.later == pytest.approx(6 * training.seconds)
        assert (tuning + training).later == tuning.later

    def test_trials_that_are_judged_by_answers_write_them(self, recipe: dict) -> None:
        del recipe["training"]["learning_rate"]
        unseen = self.model(recipe).phases()
        recipe["stopping"] = {"thresholds": {"forget_rouge": 0.3}}
        seen = self.model(recipe).phases()
        assert "evaluation" not in seen
        assert seen["tuning"].flops > unseen["tuning"].flops

    def test_a_loss_that_asks_for_the_original_pays_for_its_pass(self, recipe: dict) -> None:
        """NPO: the forget rows, half of a micro-batch, pass the original as well."""
        plain, npo = self.model(recipe), self.model(recipe, **{"objective.forget": "npo"})
        shape = plain.batches.shape
        extra = plain.passes.scored(Shape(shape.rows // 2, shape.length, shape.answers)).flops * 3 * 2
        assert npo.phases()["training"].flops - plain.phases()["training"].flops == pytest.approx(extra)

    def test_memory_grows_by_what_is_trained_and_by_what_a_batch_keeps(self, recipe: dict) -> None:
        small, large = (self.model(recipe, **{"training.micro_batch_size": size}) for size in (1, 4))
        assert large.phases()["training"].peak_memory_bytes > small.phases()["training"].peak_memory_bytes
        assert small.resident > 90e6
        work = small.passes.trained(small.batches.shape)
        trained = 2 * sum(sum(shape) for shape in small.layers)
        alive = small.share * work.peak * small.batches.largest
        wanted = small.resident + small.weights + trained * (4 + 4 + 4 + 8) + alive
        assert small._training(None).peak_memory_bytes == pytest.approx(wanted)

    def test_of_a_bf16_base_the_adapter_is_fp32_and_products_are_bf16(self, recipe: dict) -> None:
        full, half, mixed = (
            self.model(recipe, **changes)
            for changes in (
                {},
                {"model.dtype": "bfloat16"},
                {"model.dtype": "bfloat16", "training.precision": "bf16"},
            )
        )
        assert half.weights == full.weights / 2
        assert half.adapter == full.adapter == 8 * full.trained
        assert half.in_training == full.in_training == 20 * full.trained
        assert [model.counts.models.mixed for model in (full, half, mixed)] == [False, False, True]

    def test_where_bf16_is_faster_scoring_is_in_it_and_importance_is_not(
        self, recipe: dict, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cost_model, "may_gain", lambda dtype, parameters: True)
        monkeypatch.setattr(cost_model, "measure_speed", lambda *_: SPEED)
        chosen = []
        for speedup, precision in ((1.6, "auto"), (1.4, "auto"), (1.6, "fp32"), (1.4, "bf16")):
            monkeypatch.setattr(cost_model, "bf16_speedup", lambda width, speedup=speedup: speedup)
            inputs = Inputs(load_recipe(recipe, [f"training.precision={precision}"]))
            models = CostModel(inputs, empty_model(inputs.method.source)).counts.models
            chosen.append((models.mixed, models.fast))
        assert chosen == [(True, True), (False, False), (False, False), (True, True)]
        assert not self.model(
            recipe, **{"training.precision": "bf16"}
        ).counts.models.fast  # of a given device

    def test_on_a_cpu_memory_stays_with_the_process(self, recipe: dict) -> None:
        peaks = [cost.peak_memory_bytes for cost in self.model(recipe).phases().values()]
        assert peaks == sorted(peaks)


class TestTrials:
    """Passes that are made on this device, whose seconds the test sets to 3."""

    shape = Shape(rows=2, length=9, answers=4)

    def passes(self, blocks: int = 2, room: float = 1e9) -> TrialPasses:
        config = random_model().config
        config.num_hidden_layers, config.layer_types = blocks, None
        models = ShallowModels(config, torch.float32, rank=2)
        return TrialPasses(Passes(models), SPEED, torch.device("cpu"), blocks, True, room)

    def every_kind(self, passes: TrialPasses) -> list[Work]:
        return [
            passes.scored(self.shape),
            passes.measured(self.shape, "factored"),
            passes.trained(self.shape),
            passes.prefilled(2, 5),
            passes.decoded(2, 5),
        ]

    def test_a_model_that_is_tried_whole_takes_what_its_trial_took(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = []

        def seconds_of(run: object, device: torch.device) -> float:
            for _ in range(2):  # every one runs for real, again and again
                made.append(run())  # type: ignore[operator]
            return 3.0

        monkeypatch.setattr(trial_passes, "seconds_of", seconds_of)
        for work in self.every_kind(self.passes()):
            assert SPEED.seconds(work) == pytest.approx(3.0)
            assert SPEED.seconds(work.times(4)) == pytest.approx(12.0)
        assert len(made) == 2 * 5

    def test_the_ratio_of_a_shallower_trial_holds_for_the_whole(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trial_passes, "seconds_of", lambda run, device: 3.0)
        whole = self.passes(blocks=9)
        room = whole._bytes(4)
        tried = self.passes(blocks=9, room=room).scored(self.shape)
        four = whole.passes.scored(self.shape, 4)
        assert SPEED.seconds(tried) == pytest.approx(
            3.0 / SPEED.seconds(four) * SPEED.seconds(whole.passes.scored(self.shape))
        )
        assert tried.flops == whole.passes.scored(self.shape).flops

    def test_a_trial_is_of_fewer_rows_and_then_of_fewer_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is time for a small part: 256 tokens, of which eight blocks take 0.3 s, so that two are tried."""
        seen: list[int] = []
        monkeypatch.setattr(trial_passes, "seconds_of", lambda run, device: 3.0)
        passes = self.passes(blocks=8)
        made = passes._model

        def model(blocks: int, kind: trial_passes.Kind) -> Any:
            seen.append(blocks)
            return made(blocks, kind)

        monkeypatch.setattr(passes, "_model", model)
        shape = Shape(rows=400, length=16, answers=8)
        work = passes.scored(shape)
        assert seen == [2]
        assert 0.8 / 3 < SPEED.seconds(passes.passes.scored(replace(shape, rows=16), 8)) <= 0.4
        tried = passes.passes.scored(replace(shape, rows=16), 2)
        assert SPEED.seconds(work) == pytest.approx(
            3.0 / SPEED.seconds(tried) * SPEED.seconds(passes.passes.scored(shape))
        )

    def test_the_models_that_were_tried_go_with_the_prediction(self) -> None:
        """Several requests are predicted one after the other."""
        passes = self.passes()
        self.every_kind(passes)
        tried = [weakref.ref(model) for model in passes._made.values()]
        del passes
        gc.collect()
        assert len(tried) == 2
        assert not any(model() for model in tried)

    def test_what_is_too_large_is_counted_alone(self) -> None:
        passes = self.passes(room=1)
        assert all(work.beyond == 0 for work in self.every_kind(passes))
        assert passes.scored(self.shape) == passes.passes.scored(self.shape)
        assert passes.untried == ["scored", "measured", "trained", "prefilled", "decoded"]

    def test_the_room_for_a_trial_is_a_share_of_the_free_memory(
        self, recipe: dict, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One block of Llama-3-8B with both embeddings is 2.5 GB in bf16: tried where 24 GB are free, not where 16."""
        large = LlamaConfig(
            hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
            num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=False,
        )  # fmt: skip
        block = sum(p.nbytes for p in ShallowModels(large, torch.bfloat16).plain(1).parameters())
        inputs = Inputs(load_recipe(recipe))
        for free, tried in ((24e9, True), (16e9, False)):
            monkeypatch.setattr(cost_model, "free_memory", lambda device, free=free: free)
            model = CostModel(inputs, empty_model(inputs.method.source))
            assert (block <= model.passes.room) is tried

    def test_validate_says_what_was_not_tried(
        self, recipe: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        inputs = Inputs(load_recipe(recipe))
        for free, said in ((0.0, True), (1e9, False)):
            monkeypatch.setattr(cost_model, "free_memory", lambda device, free=free: free)
            assert predicted_costs(inputs, empty_model(inputs.method.source))["training"].seconds > 0
            assert ("not tried" in capsys.readouterr().err) is said
