"""Merging applied to models of transformers: it follows its definition, and changes nothing at r = 0."""

import copy

import pytest
import torch
import transformers as hub

from features.extractors.spec import MergeSchedule
from features.extractors.token_merging.apply import TOWERS, merge_tokens
from features.extractors.token_merging.matching import mean_token
from tests.features import tiny_towers
from tests.features.tiny_towers import MAKERS, PROTECTED, SQUARE, WIDE, before_and_after, inputs, layers_of, make

family = pytest.mark.parametrize("name", MAKERS)


def values(out):
    return {key: value for key, value in out.items() if value is not None}


@family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_nothing_changes_no_bit_and_removed_merging_leaves_no_trace(name, dtype):
    model, given = make(name, dtype), inputs(name, dtype)
    before = {key: dict(vars(part)) for key, part in model.named_modules()}
    plain = values(model(**given))
    merging = merge_tokens(model, MergeSchedule.parse("0"))
    merged = values(model(**given))
    assert plain.keys() == merged.keys()
    assert all(torch.equal(plain[key], merged[key]) for key in plain)
    assert (merging.sizes == 1).all()
    assert merging.merged == [0, 0, 0]
    merging.remove()
    merging = merge_tokens(model, MergeSchedule.parse("6"))
    assert model(**given).keys() == plain.keys()
    merging.remove()
    assert {key: dict(vars(part)) for key, part in model.named_modules()} == before
    assert all(torch.equal(plain[key], value) for key, value in values(model(**given)).items())


@family
def test_neighbours_in_the_batch_do_not_matter(name):
    model, given = make(name), inputs(name)
    merging = merge_tokens(model, MergeSchedule.parse("6"))
    _, together, _ = before_and_after(model, given)
    groups = merging.groups()
    _, again, _ = before_and_after(model, given)
    assert torch.equal(together, again)
    half = {key: value[:2] for key, value in given.items()}  # two: X-CLIP's frames belong together
    _, apart, _ = before_and_after(model, half)
    assert torch.equal(merging.groups(), groups[:2])
    torch.testing.assert_close(apart, together[:2], atol=1e-9, rtol=1e-9)


@family
@pytest.mark.parametrize(("dtype", "level"), [(t, v) for t in (torch.float32, torch.bfloat16) for v in (0.0, 1.0)])
def test_blank_input_stays_finite_and_the_same(name, dtype, level):
    model = make(name, dtype)
    given = {key: torch.full_like(value, level) for key, value in inputs(name, dtype).items()}
    merging = merge_tokens(model, MergeSchedule.parse("9"))
    first, second = (values(model(**given)) for _ in range(2))
    assert all(value.isfinite().all() for value in first.values())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all((merging.groups()[0] == row).all() for row in merging.groups())
    if name == "vit":  # keys of zero
        for layer in layers_of(model):
            layer.attention.k_proj.weight.zero_()
            layer.attention.k_proj.bias.zero_()
        assert model(**inputs("vit", dtype)).last_hidden_state.isfinite().all()
        assert (merging.sizes.sum(1) == 37).all()


@family
def test_groups_say_which_patches_a_token_holds(name):
    model = make(name)
    merging = merge_tokens(model, MergeSchedule.parse("0.15:falling"))
    _, tokens, _ = before_and_after(model, inputs(name))
    groups = merging.groups()
    counted = torch.nn.functional.one_hot(groups, tokens.shape[1]).sum(1)
    assert torch.equal(counted.double(), merging.sizes)
    first = PROTECTED.get(name, 1)
    assert merging.protected == first
    assert torch.equal(groups[:, :first], torch.arange(first).expand(len(groups), first))
    assert torch.equal(merging.sizes[:, :first], torch.ones(len(groups), first).double())
    if name == "dinov2":  # inputs may change their size
        for side, patches, merged in ((24, 37, [10, 5, 0]), (48, 145, [42, 21, 0]), (24, 37, [10, 5, 0])):
            model(pixel_values=torch.randn(2, 3, side, side).double())
            assert merging.groups().shape == (2, patches)
            assert merging.merged == merged


def test_the_pooling_head_attends_to_each_patch():
    """SigLIP's head gives for merged tokens what it gives for each of them, repeated as often as its size."""
    model = make("siglip")
    merging = merge_tokens(model, MergeSchedule.parse("8"))
    out = model(**inputs("siglip"))
    pooled, tokens, sizes = out.pooler_output, out.last_hidden_state, merging.sizes.long()
    assert sizes.max() > 2
    merging.remove()
    for item in range(len(tokens)):
        repeated = tokens[item].repeat_interleave(sizes[item], 0)
        torch.testing.assert_close(model.head(repeated[None])[0], pooled[item], atol=1e-10, rtol=1e-10)
        assert not torch.allclose(model.head(tokens[item : item + 1])[0], pooled[item], atol=1e-3)
    headless = hub.SiglipVisionModel(hub.SiglipVisionConfig(**WIDE, **SQUARE, vision_use_head=False)).eval()
    merge_tokens(headless, MergeSchedule.parse("8"))
    assert headless(**inputs("siglip", torch.float32)).last_hidden_state.shape[1] == 36 - 24


def test_alike_patches_merge_into_what_they_were():
    """Where patches are alike to the last bit, merging them changes nothing: attention is proportional."""
    model = make("vit")
    model.embeddings.position_embeddings[:, 1:] = 0
    picture = torch.randn(1, 3, 4, 4).double().repeat(2, 1, 6, 6)  # one patch, 36 times
    plain = model(pixel_values=picture).last_hidden_state
    merging = merge_tokens(model, MergeSchedule.parse("8"))
    merged = model(pixel_values=picture).last_hidden_state
    torch.testing.assert_close(merged[:, 0], plain[:, 0], atol=1e-9, rtol=1e-9)
    mean = mean_token(merged, merging.sizes, 1)
    torch.testing.assert_close(mean, mean_token(plain, None, 1), atol=1e-5, rtol=1e-5)
    merging.remove()
    merge_tokens(model, MergeSchedule.parse("8"), proportional=False)
    assert not torch.allclose(model(pixel_values=picture).last_hidden_state[:, 0], plain[:, 0], atol=1e-3)


def test_no_other_model_is_touched():
    """Not one made of the same config object, not the text half, not a copy that was made before."""
    assert set(TOWERS) <= {
        type(part).__name__ for name in MAKERS for part in make(name).modules()
    }  # all are tested
    config = hub.ViTConfig(**WIDE, **SQUARE)
    one, other = hub.ViTModel(config).eval(), hub.ViTModel(config).eval()
    given, copied = inputs("vit", torch.float32), copy.deepcopy(other)
    plain = other(**given).last_hidden_state
    merge_tokens(one, MergeSchedule.parse("8"))
    assert one(**given).last_hidden_state.shape[1] == 13
    assert torch.equal(other(**given).last_hidden_state, plain)
    assert torch.equal(copied(**given).last_hidden_state, plain)
    assert config._attn_implementation == "sdpa"
    tower, words = {**WIDE, "num_hidden_layers": 2}, torch.arange(12).view(2, 6)
    parts = {"text_config": {**tower, "vocab_size": 50}, "vision_config": {**tower, **SQUARE}}
    both = hub.CLIPModel(hub.CLIPConfig(**parts)).eval()
    text = both.get_text_features(input_ids=words).pooler_output
    merging = merge_tokens(both, MergeSchedule.parse("8"))
    assert torch.equal(both.get_text_features(input_ids=words).pooler_output, text)
    both.get_image_features(**given)
    assert merging.sizes.shape == (4, 21)


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
EAGER = "merge where a model attends by sdpa, and this ViTModel does by eager"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (hub.DINOv3ViTModel(hub.DINOv3ViTConfig(**SMALL, image_size=32)), "DINOv3ViTModel .*ViTModel"),
        (hub.BertModel(hub.BertConfig(**SMALL, vocab_size=9)), "BertModel .*ViTModel"),
        (torch.nn.Linear(2, 2), "Linear .*ViTModel"),
        (hub.ViTModel._from_config(hub.ViTConfig(**WIDE, **SQUARE), attn_implementation="eager"), EAGER),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_models_and_another_attention_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        merge_tokens(model, MergeSchedule.parse("8"))


def test_merging_twice_is_refused_and_under_a_mask():
    model = make("vit")
    merging = merge_tokens(model, MergeSchedule.parse("8"))
    with pytest.raises(ValueError, match=r"merge already; call remove\(\) of that merging first"):
        merge_tokens(model, MergeSchedule.parse("4"))
    copied = copy.deepcopy(model)
    merging.remove()
    other = merge_tokens(model, MergeSchedule.parse("4"))
    merging.remove()  # its own are gone already
    assert model(**inputs("vit")).last_hidden_state.shape[1] == 37 - 12
    other.remove()
    assert model(**inputs("vit")).last_hidden_state.shape[1] == 37
    assert copied(**inputs("vit")).last_hidden_state.shape[1] == 13
    model, given = make("vit"), inputs("vit")
    mask = torch.ones(4, 37, dtype=torch.int64)
    mask[:, 30:] = 0
    plain = model(**given, attention_mask=mask).last_hidden_state
    merging = merge_tokens(model, MergeSchedule.parse("0"))
    assert torch.equal(model(**given, attention_mask=mask).last_hidden_state, plain)
    merging.remove()
    merge_tokens(model, MergeSchedule.parse("8"))
    with pytest.raises(ValueError, match="cannot merge under an attention mask; give the model no padding"):
        model(**given, attention_mask=mask)


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
    heads, logs = tiny_towers.TINY["num_attention_heads"], sizes.log()
    q, k, v = (part(states).view(len(states), heads, -1) for part in (query, key, value))
    seen = torch.empty_like(q)
    for head in range(heads):
        for token in range(len(states)):
            logits = k[:, head] @ q[token, head] / q.shape[-1] ** 0.5 + logs
            seen[token, head] = logits.softmax(0) @ v[:, head]
    return out(seen.reshape(len(states), -1)), k.mean(1)


def slow_merge(states, sizes, metric, r, protected):
    groups = tiny_towers.slow_match(metric, r, protected)
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
