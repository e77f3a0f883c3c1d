"""The gate: weights that depend on the sentence, fitted on what the experts have not seen."""

from dataclasses import replace

import pytest
import torch

from mee.scoring import mixture_weights
from mee.training import gate as gate_module
from mee.training.gate import HeldOut, fit_gate

EXPERTS, CLIPS = 3, 24


def part(seed, listen=True, missing=0.0):
    """Sentences name what is seen or heard, by the sign of h; the other then guesses, as a third expert."""
    generator = torch.Generator().manual_seed(seed)
    heard = torch.rand(2 * CLIPS, generator=generator) < 0.5
    noise = torch.randn(2 * CLIPS, CLIPS, EXPERTS, generator=generator) * 0.2
    right = torch.eye(CLIPS).repeat_interleave(2, 0)
    similarity = noise
    for expert in (0, 1):
        similarity[..., expert] += right * ((heard == bool(expert)) | (not listen))[:, None]
    h = (
        torch.stack([2.0 * heard - 1, torch.ones(2 * CLIPS)], 1)
        + torch.randn(2 * CLIPS, 2, generator=generator) / 9
    )
    available = torch.rand(CLIPS, EXPERTS, generator=generator) >= missing
    available[:, 0] = True
    first = torch.arange(0, 2 * CLIPS, 2)
    return HeldOut(similarity, h, available, first, torch.full((CLIPS,), 2), torch.arange(CLIPS))


@pytest.mark.parametrize("rule", ["evidence", "renormalise"])
def test_weights_follow_the_sentence_where_it_says_which_expert_knows(rule):
    parts = [part(seed) for seed in range(5)]
    gate = fit_gate(parts, rule, 0)
    h = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    with torch.no_grad():
        heard, seen = mixture_weights(gate.folded()(h), torch.ones(2, EXPERTS, dtype=torch.bool), rule)
    assert heard[1] > 1.5 * seen[1]
    assert seen[0] > 1.5 * heard[0]
    assert max(heard[2], seen[2]) < 0.2  # it guesses
    assert (gate.offset == 0).all() == (rule == "renormalise")


def test_folded_logits_are_those_of_the_fit():
    parts = [part(seed) for seed in range(3)]
    gate = fit_gate(parts, "evidence", 0)
    with torch.no_grad():
        expected = gate.logits(parts[0].h)
        torch.testing.assert_close(gate.folded()(parts[0].h), expected, atol=1e-5, rtol=1e-5)


def test_one_part_gets_a_constant():
    gate = fit_gate([part(0)], "evidence", 0)
    assert (gate.last.weight == 0).all()
    assert gate.logits(torch.randn(4, 2)).std(0).max() < 1e-6


def test_offsets_follow_similarities_that_are_all_higher(monkeypatch):
    monkeypatch.setattr(gate_module, "OFFSET_STEPS", 150)
    parts = [part(seed, listen=False, missing=0.4) for seed in range(4)]
    raised = [replace(one, similarity=one.similarity + torch.tensor([0.0, 0.5, 0.0])) for one in parts]
    plain, higher = (fit_gate(some, "evidence", 0).offset.detach() for some in (parts, raised))
    assert higher[1] > plain[1] + 0.1
    assert abs(higher[0] - plain[0]) < 0.2


def test_clips_of_one_video_are_not_each_others_negatives():
    one = part(0, listen=False)
    gate = fit_gate([one], "evidence", 0)
    alone = replace(one, group=torch.zeros(CLIPS, dtype=torch.int64))
    with torch.no_grad():
        losses = [float(each.loss(gate, "evidence", 0.0, torch.Generator())) for each in (alone, one)]
    assert losses[0] == 0 < losses[1]


def test_the_same_seed_gives_the_same_gate_and_leaves_torchs_generator_alone():
    parts = [part(seed) for seed in range(2)]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (fit_gate(parts, "evidence", 3) for _ in range(2))
    assert all(one.equal(other) for one, other in zip(first.state_dict().values(), second.state_dict().values()))
    assert torch.get_rng_state().equal(before)


def test_an_expert_that_no_clip_has_gets_no_weight():
    parts = [
        replace(one, available=one.available & torch.tensor([True, False, True])) for one in map(part, range(2))
    ]
    with torch.no_grad():
        weights = fit_gate(parts, "evidence", 0).folded()(parts[0].h).softmax(-1)
    assert weights[:, 1].max() < 1e-6
    assert weights.isfinite().all()
