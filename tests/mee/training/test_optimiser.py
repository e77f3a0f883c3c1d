"""The optimiser: what decays, with which rate, and the schedules against their formulas."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mee.training.config import TrainConfig
from mee.training.losses import InfoNCELoss, MaxMarginLoss
from mee.training.optimiser import make_optimiser, rate_factor, set_rate
from mee.training.state import learnt_state, load_learnt_state

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
        spared = "bias" in name or "norm" in name or "embedding" in name or name == "loss"
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
    torch.manual_seed(0)
    config = replace(CONFIG, weight_decay=0.0)
    optimiser = make_optimiser(model, MaxMarginLoss(0.2), config)
    assert isinstance(optimiser, torch.optim.AdamW)
    own = {name: value for name, value in optimiser.param_groups[0].items() if name not in ("params", "base_rate")}
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    one = torch.optim.AdamW([{"params": list(ours.parameters()), **own}])
    other = torch.optim.Adam(theirs.parameters(), lr=config.learning_rate)
    for _ in range(50):
        x, y = torch.randn(8, 5), torch.randn(8, 3)
        for layer, adam in ((ours, one), (theirs, other)):
            adam.zero_grad()
            (layer(x) - y).square().mean().backward()
            adam.step()
    for found, expected in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.25, 0.9])
def test_cosine_rises_straight_and_falls_as_half_a_cosine(warmup):
    config = replace(CONFIG, schedule="cosine", warmup=warmup)
    for step in range(1000):
        s = (step + 0.5) / 1000
        epoch, share = divmod(s * config.epochs, 1)
        expected = s / warmup if s < warmup else (1 + math.cos(math.pi * (s - warmup) / (1 - warmup))) / 2
        factor = rate_factor(config, int(epoch), share)
        assert factor == pytest.approx(expected, abs=1e-9)
        assert 0 < factor <= 1
    assert rate_factor(config, config.epochs - 1, 1.0) == pytest.approx(0)


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.25])
def test_exponential_falls_by_its_factor_after_each_epoch(warmup):
    config = replace(CONFIG, schedule="exponential", decay=0.8, warmup=warmup)
    for epoch in range(config.epochs):
        for share in (0.01, 0.5, 0.99):
            s = (epoch + share) / config.epochs
            risen = min(1.0, s / warmup) if warmup else 1.0
            assert rate_factor(config, epoch, share) == pytest.approx(risen * 0.8**epoch)
