"""Losses against plain loops, without the pairs that truly match; what the optimiser decays, and its schedules."""

import math
from copy import deepcopy
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.scoring import mee_scores
from mee.streams import Streams
from mee.training.config import TrainConfig
from mee.training.losses import InfoNCELoss, MaxMarginLoss, TrainingStep, make_loss
from mee.training.state import learnt_state, load_learnt_state
from mee.training.trainer import make_optimiser, rate_factor, set_rate

SEEDS = st.integers(0, 2**31)


def random_batch(seed, size=6):
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.rand(size, size, generator=generator, dtype=torch.float64) - 1
    return scores, (torch.rand(size, size, generator=generator) < 0.7) & ~torch.eye(size, dtype=torch.bool)


@given(SEEDS, st.sampled_from([0.0, 0.2, 3.0]))
def test_max_margin_equals_a_loop_over_the_negatives_or_over_all(seed, margin):
    """The published mean is over every pair, both ways, its own among them; true matches cost nothing."""
    scores, negative = random_batch(seed)
    rows, terms, published = scores.tolist(), [], []
    for i, j in product(range(6), repeat=2):
        for score, counts in ((rows[i][j], negative[i, j]), (rows[j][i], negative[j, i])):
            cost = max(0.0, margin + score - rows[i][i])
            terms += [cost] * int(counts)
            published.append(cost if counts or i == j else 0.0)
    assert len(published) == 2 * 6**2
    expected = sum(terms) / len(terms) if terms else 0.0
    assert MaxMarginLoss(margin)(scores, negative).item() == pytest.approx(expected, abs=1e-12)
    over_all = MaxMarginLoss(margin, over_all=True)(scores, negative)
    assert over_all.item() == pytest.approx(sum(published) / len(published), abs=1e-12)
    everything, scores = ~torch.eye(6, dtype=torch.bool), scores.requires_grad_()  # gradients of one direction
    losses = (MaxMarginLoss(margin, over_all=each)(scores, everything) for each in (False, True))
    mean, whole = (torch.autograd.grad(loss, scores)[0] for loss in losses)
    torch.testing.assert_close(whole, mean * 5 / 6)


@given(SEEDS, st.sampled_from([0.02, 0.07, 1.0]))
def test_infonce_equals_a_loop(seed, temperature):
    scores, negative = random_batch(seed)
    total = 0.0
    for i in range(6):
        for line, others in ((scores[i], negative[i]), (scores[:, i], negative[:, i])):
            rest = [line[j].item() for j in range(6) if others[j]]
            own = line[i].item()
            total += math.log(sum(math.exp((s - own) / temperature) for s in [own, *rest]))
    assert InfoNCELoss(temperature)(scores, negative).item() == pytest.approx(total / 12, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("loss", [MaxMarginLoss(0.2), InfoNCELoss(0.07)], ids=["max-margin", "infonce"])
def test_both_directions_count_alike_and_true_matches_not_at_all(loss):
    scores, negative = random_batch(1)
    torch.testing.assert_close(loss(scores, negative), loss(scores.T, negative.T))
    scores, negative = random_batch(0, 4)[0], ~torch.eye(4, dtype=torch.bool)
    spoiled = scores.clone()
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2)):
        spoiled[i, j], negative[i, j] = 1e6, False
    assert loss(spoiled, negative).equal(loss(scores, negative))
    scores.requires_grad_()
    value = loss(scores, torch.zeros(4, 4, dtype=torch.bool))  # no negatives at all
    value.backward()
    assert value.item() == 0
    assert scores.grad.isfinite().all()


def test_perfect_scores_cost_nothing_and_extreme_scores_stay_finite():
    negative = ~torch.eye(4, dtype=torch.bool)
    assert MaxMarginLoss(0.2)(torch.eye(4), negative).item() == 0
    loss = InfoNCELoss(0.01)
    assert loss(2 * torch.eye(4) - 1, negative).item() == pytest.approx(0, abs=1e-6)
    assert loss(1 - 2 * torch.eye(4), negative).item() == pytest.approx(200 + math.log(3), rel=1e-5)


@pytest.mark.parametrize(("start", "used"), [(1e-6, 0.01), (0.07, 0.07), (50.0, 1.0)])
def test_the_temperature_is_clamped_and_told_and_can_come_back_from_its_limit(start, used):
    loss = InfoNCELoss(0.07)
    with torch.no_grad():
        loss.log_temperature.fill_(math.log(start))  # where a step may lead
    assert loss.figures() == {"temperature": pytest.approx(used)}
    loss(*random_batch(2)).backward()
    assert loss.temperature.item() == pytest.approx(used) == InfoNCELoss(start).temperature.item()
    assert loss.log_temperature.grad.item() != 0
    assert MaxMarginLoss(0.2).figures() == {}


# ---- the training step: the loss of the model's scores, in full precision

DIMS = {"appearance": 5, "motion": 4, "audio": 3}


@pytest.fixture
def batch(model, sentences):
    """Six captions and clips; motion is missing twice, audio everywhere."""
    torch.manual_seed(3)
    clips = {name: Streams(torch.randn(6, 3, dim), torch.full((6,), 3)) for name, dim in DIMS.items()}
    clips["motion"] = clips["motion"].where(torch.tensor([1, 1, 0, 1, 0, 1]).bool())
    clips["audio"] = clips["audio"].where(torch.zeros(6, dtype=torch.bool))
    read = {name: ragged.all() for name, ragged in model.tokenize(sentences).items()}
    return read, clips, ~torch.eye(6, dtype=torch.bool)


@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        ({}, InfoNCELoss(0.07)),
        ({"temperature": 0.5}, InfoNCELoss(0.5)),
        ({"loss": "max-margin", "margin": 0.3}, MaxMarginLoss(0.3)),
        ({"loss": "max-margin", "margin_mean": "all"}, MaxMarginLoss(0.2, over_all=True)),
    ],
)
def test_a_step_gives_the_loss_that_the_settings_name_of_the_models_scores(model, batch, settings, loss):
    read, clips, negative = batch
    value = TrainingStep(model, make_loss(TrainConfig(**settings)))(read, clips, negative)
    text, video = model.encode_text(read), model.encode_video(clips)
    scores = mee_scores(text.packed, video.packed, text.logits, video.available, model.layout, text.offsets)
    torch.testing.assert_close(value, loss(scores, negative))


def test_all_that_learns_gets_a_gradient_and_scores_keep_their_digits_in_any_precision(model, batch):
    seen = []

    class Spy(InfoNCELoss):
        def forward(self, scores, negative):
            seen.append((scores.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(scores, negative)

    step = TrainingStep(model, Spy(0.1)).train()
    with torch.autocast("cpu", torch.bfloat16):
        value = step(*batch)
    value.backward()
    assert seen == [(torch.float32, False)]
    assert value.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in step.parameters())
    assert model.expert("appearance").unit.linear.weight.grad.abs().max() > 0
    assert model.expert("audio").unit.linear.weight.grad.abs().max() == 0
    read, clips, negative = batch
    doubled = {name: Streams(s.padded.double(), s.lengths) for name, s in clips.items()}
    assert step.double()(read, doubled, negative).dtype == torch.float64


# ---- the optimiser

CONFIG = TrainConfig(learning_rate=1e-2, text_learning_rate=1e-4, weight_decay=0.3, warmup=0.1, epochs=10)


def named(model, optimiser):
    """Parameter name -> its group."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {names.get(id(p), "loss"): group for group in optimiser.param_groups for p in group["params"]}


def test_decay_is_for_matrices_that_are_no_embeddings(model):
    for loss in (InfoNCELoss(0.07), MaxMarginLoss(0.2)):
        optimiser = make_optimiser(model, loss, CONFIG)
        parameters = [id(p) for group in optimiser.param_groups for p in group["params"]]  # each in one group
        assert len(parameters) == len(set(parameters)) == len([*model.parameters(), *loss.parameters()])
    groups = named(model, make_optimiser(model, InfoNCELoss(0.07), CONFIG))
    assert set(groups) == {name for name, _ in model.named_parameters()} | {"loss"}
    for name, group in groups.items():
        spared = "bias" in name or "norm" in name or "embedding" in name or name in ("loss", "offset")
        assert group["weight_decay"] == (0.0 if spared else 0.3), name
        assert group["lr"] == 1e-2


def test_tuned_text_layers_have_their_own_rate(model, monkeypatch):
    layer = model.text_encoder.layers[-1]
    monkeypatch.setattr(model.text_encoder, "tuned_parameters", lambda: list(layer.parameters()))
    optimiser = make_optimiser(model, InfoNCELoss(0.07), CONFIG)
    groups = named(model, optimiser)
    for name, group in groups.items():
        assert group["lr"] == (1e-4 if name.startswith("text_encoder.layers.1.") else 1e-2)
        assert group["weight_decay"] == (0.0 if "bias" in name or "norm" in name else group["weight_decay"])
    assert groups["text_encoder.layers.1.mlp.0.weight"]["weight_decay"] == 0.3
    for _ in range(2):  # a share of the base rate, not of the last
        set_rate(optimiser, 0.5)
        assert {group["lr"] for group in optimiser.param_groups} == {0.5e-4, 0.5e-2}


def test_frozen_parameters_are_neither_optimised_nor_kept_and_a_state_must_fit(model):
    model.text_encoder.layers[0].requires_grad_(False)
    frozen = {name for name, _ in model.named_parameters() if name.startswith("text_encoder.layers.0.")}
    assert frozen
    assert not frozen & set(named(model, make_optimiser(model, InfoNCELoss(0.07), CONFIG)))
    state = learnt_state(model)
    assert set(state) == set(model.state_dict()) - frozen
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_learnt_state(model, {name: torch.zeros_like(tensor) for name, tensor in state.items()})
    for name, tensor in model.state_dict().items():
        assert tensor.equal(before[name] if name in frozen else torch.zeros_like(tensor))
    lacking = {name: tensor for name, tensor in state.items() if name != "mixture.bias"}
    for other, named_so in ((lacking, r"mixture\.bias"), ({**state, "surplus": torch.zeros(1)}, "surplus")):
        with pytest.raises(ValueError, match=f"does not fit the model: {named_so}"):
            load_learnt_state(model, other)


def test_without_decay_it_is_adam(model):
    """As torch defines AdamW: Adam, and a decay apart from the gradient."""
    torch.manual_seed(0)
    optimiser = make_optimiser(model, MaxMarginLoss(0.2), replace(CONFIG, weight_decay=0.0))
    assert isinstance(optimiser, torch.optim.AdamW)
    other = deepcopy(model)
    adam, pairs = torch.optim.Adam(other.parameters(), lr=1e-2), [*zip(model.parameters(), other.parameters())]
    for _ in range(50):
        for ours, theirs in pairs:
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        optimiser.step()
        adam.step()
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.25, 0.9])
def test_rates_rise_straight_and_fall_as_half_a_cosine_or_by_a_factor_after_each_epoch(warmup):
    cosine = replace(CONFIG, schedule="cosine", warmup=warmup)
    exponential = replace(CONFIG, schedule="exponential", decay=0.8, warmup=warmup)
    for step in range(1000):
        s = (step + 0.5) / 1000
        epoch, share = divmod(s * CONFIG.epochs, 1)
        expected = s / warmup if s < warmup else (1 + math.cos(math.pi * (s - warmup) / (1 - warmup))) / 2
        factor = rate_factor(cosine, int(epoch), share)
        assert factor == pytest.approx(expected, abs=1e-9)
        assert 0 < factor <= 1
        risen = min(1.0, s / warmup) if warmup else 1.0
        assert rate_factor(exponential, int(epoch), share) == pytest.approx(risen * 0.8 ** int(epoch))
    assert rate_factor(cosine, cosine.epochs - 1, 1.0) == pytest.approx(0)
