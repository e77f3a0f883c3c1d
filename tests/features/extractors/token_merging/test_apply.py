"""Merging put onto models of transformers: nothing changes at r = 0, no other model does, what it reports."""

import copy

import pytest
import torch
import transformers as hub

from features.extractors.spec import MergeSchedule
from features.extractors.token_merging.apply import TOWERS, merge_tokens
from features.extractors.token_merging.matching import mean_token
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


def test_every_tower_of_the_table_is_tested():
    assert {type(part).__name__ for name in MAKERS for part in make(name).modules()} >= set(TOWERS)


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
        for side, patches in ((24, 37), (48, 145), (24, 37)):
            model(pixel_values=torch.randn(2, 3, side, side).double())
            assert merging.groups().shape == (2, patches)
            assert sum(merging.merged) == sum(MergeSchedule.parse("0.15:falling").per_layer(3, patches, 1))


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


def test_merging_twice_is_refused_and_a_copy_of_a_merged_model_merges_by_itself():
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


def test_a_mask_is_refused_where_tokens_merge():
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
