"""Merging inside a layer: the states of every family are those that loops over the definition give."""

import pytest
import torch

from features.extractors.spec import MergeSchedule
from features.extractors.token_merging.apply import merge_tokens
from tests.features.tiny_towers import (
    MAKERS,
    PROTECTED,
    TINY,
    before_and_after,
    inputs,
    layers_of,
    make,
    slow_match,
)

QKVO = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj")
SELF = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
INNER = (*(f"attention.attention.{part}" for part in ("query", "key", "value")), "attention.output.dense")
NAMES = {"ast": QKVO, "vit": QKVO, "dinov2": QKVO, "dinov2 giant": QKVO, "registers": QKVO, "videomae": INNER}
NORMS = {
    **dict.fromkeys(("vit", "ast", "videomae"), ("layernorm_before", "layernorm_after")),
    **dict.fromkeys(("dinov2", "dinov2 giant", "registers"), ("norm1", "norm2")),
}


def slow_attention(name, layer, states, sizes):
    """(output, mean keys) of one item, (N, C)."""
    query, key, value, out = (layer.get_submodule(part) for part in NAMES.get(name, SELF))
    heads, logs = TINY["num_attention_heads"], sizes.log()
    q, k, v = (part(states).view(len(states), heads, -1) for part in (query, key, value))
    seen = torch.empty_like(q)
    for head in range(heads):
        for token in range(len(states)):
            logits = k[:, head] @ q[token, head] / q.shape[-1] ** 0.5 + logs
            seen[token, head] = logits.softmax(0) @ v[:, head]
    return out(seen.reshape(len(states), -1)), k.mean(1)


def slow_merge(states, sizes, metric, r, protected):
    groups = slow_match(metric, r, protected)
    mass = torch.stack([sizes[group].sum() for group in groups])
    return torch.stack([(sizes[group, None] * states[group]).sum(0) for group in groups]) / mass[:, None], mass


def slow_layer(name, layer, items, sizes, r, proportional):
    """Items (B, N, C) and their sizes after a layer."""
    before, after = (layer.get_submodule(part) for part in NORMS.get(name, ("layer_norm1", "layer_norm2")))
    protected, merged, masses = PROTECTED.get(name, 1), [], []
    logs = sizes if proportional else torch.ones_like(sizes)
    messages = [None] * len(items)
    if name == "xclip":
        linear = layer.message_fc(items[:, 0]).view(-1, layer.num_frames, items.shape[-1])
        messages = (linear + layer.message_attn(layer.message_ln(linear))[0]).flatten(0, 1)
    for states, counts, weights, message in zip(items, sizes, logs, messages, strict=True):
        whole = states if message is None else torch.cat([states, message[None]])
        weights = torch.cat([weights, torch.ones(len(whole) - len(states))])
        seen, metric = slow_attention(name, layer, before(whole), weights)
        if "dinov2" in name or name == "registers":
            seen = layer.layer_scale1(seen)
        states = (whole + seen)[: len(states)]
        if r:
            states, counts = slow_merge(states, counts, metric[: len(states)], r, protected)
        if name == "videomae":
            states = layer.output(layer.intermediate(after(states)), states)
        else:
            change = layer.mlp(after(states))
            states = states + (layer.layer_scale2(change) if hasattr(layer, "layer_scale2") else change)
        merged.append(states)
        masses.append(counts)
    return torch.stack(merged), torch.stack(masses)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("text", "proportional"), [("5", None), ("7:falling", True), ("0.2", False)])
def test_merged_states_are_those_of_the_definition(name, text, proportional):
    model, given, schedule = make(name), inputs(name), MergeSchedule.parse(text)
    states, _, _ = before_and_after(model, given)
    counts = schedule.per_layer(3, states.shape[1], PROTECTED.get(name, 1))
    sizes = torch.ones_like(states[..., 0])
    for layer, r in zip(layers_of(model), counts, strict=True):
        weigh = name != "videomae" if proportional is None else proportional
        states, sizes = slow_layer(name, layer, states, sizes, r, weigh)
    merging = merge_tokens(model, schedule, proportional)
    _, merged, _ = before_and_after(model, given)
    assert merging.merged == counts
    assert sum(counts) > 8
    torch.testing.assert_close(merged, states, atol=1e-9, rtol=1e-9)
    assert torch.equal(merging.sizes, sizes)
