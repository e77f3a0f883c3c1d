"""Token merging against the numbers of the paper's own code: what merges, what becomes of it, a tiny ViT."""

from types import SimpleNamespace

import pytest
import torch
from transformers import ViTConfig, ViTModel

from features.extractors.spec import MergeSchedule, limited
from features.extractors.token_merging.apply import attend, merge_tokens
from features.extractors.token_merging.matching import (
    grouped,
    match,
    mean_token,
    merge_mean,
    size_bias,
    take_rows,
)

EXACT = {"atol": 1e-10, "rtol": 1e-9}
SINGLE = {"atol": 5e-6, "rtol": 0.0}
CASES = (
    "even_small", "even_cls", "odd_cls_vit", "odd_nocls", "r_over_half_nocls_even", "r_over_half_nocls_odd",
    "r_over_half_cls_even", "r_over_half_cls_odd", "r_zero", "r_negative", "two_tokens_cls", "two_tokens_nocls",
    "distill", "float32_vit_b_shape",
)  # fmt: skip
RUNS = {
    "r0": ("0", True),
    "r4_prop": ("4", True),
    "r4_noprop": ("4", False),
    "r5_decreasing_prop": ("5:falling", True),
    "r_list_prop": ([10, 0, 30, 2], True),
}


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("tome_matching.safetensors")


@pytest.fixture(scope="module")
def figures(load_golden):
    return load_golden("tome_matching.json")


def source_matrix(groups, tokens):
    """(B, N') rows of the tokens that each holds, as the golden ones."""
    return torch.nn.functional.one_hot(groups, tokens).mT


def in_their_order(ours, theirs):
    """For each of their rows, the place of ours that holds the same tokens; fails where one has none."""
    same = (ours[:, None] == theirs[:, :, None]).all(-1)
    assert (same.sum(-1) == 1).all()
    return same.int().argmax(-1)


def test_every_golden_case_is_tested(golden, figures):
    assert set(CASES) == set(figures["cases"])
    assert set(RUNS) == {name.split(".")[1] for name in golden if name.endswith("cls_out")}


@pytest.mark.parametrize("name", CASES)
def test_merging_is_the_references(golden, figures, name):
    facts, of = figures["cases"][name], lambda leaf: golden[f"{name}.{leaf}"]
    tolerance = SINGLE if facts["dtype"] == "float32" else EXACT
    protected = int(facts["class_token"]) + int(facts["distill_token"])
    x, ones = of("x"), of("x").new_ones(of("x").shape[:2])
    first = match(of("metric"), facts["r"], protected)
    assert first.merged.shape[1] == facts["effective_r"]
    merged, sizes = merge_mean(x, first, ones)
    torch.testing.assert_close(merged, of("wavg1.x"), **tolerance)
    torch.testing.assert_close(merged, of("merge_mean"), **tolerance)
    torch.testing.assert_close(sizes, of("wavg1.size").squeeze(-1), atol=0, rtol=0)
    torch.testing.assert_close(merged * sizes[..., None], of("merge_sum"), **tolerance)
    groups = grouped([first])
    torch.testing.assert_close(source_matrix(groups, merged.shape[1]).to(torch.uint8), of("source1"))
    spread = of("unmerge_of_wavg1")
    if facts["distill_token"]:  # theirs forgets that the distillation token has moved; what its own groups say:
        spread = of("source1").double().mT @ of("wavg1.x")
    torch.testing.assert_close(take_rows(merged, groups), spread, **tolerance)

    second = match(of("metric2"), facts["r_second"], protected)
    assert second.merged.shape[1] == facts["effective_r_second"]
    merged, sizes = merge_mean(merged, second, sizes)
    torch.testing.assert_close(merged, of("wavg2.x"), **tolerance)
    torch.testing.assert_close(sizes, of("wavg2.size").squeeze(-1), atol=0, rtol=0)
    source = source_matrix(grouped([first, second]), merged.shape[1])
    torch.testing.assert_close(source.to(torch.uint8), of("source2"))


@pytest.mark.parametrize(("weighed", "leaf"), [(True, "out_with_size"), (False, "out_without_size")])
def test_proportional_attention_is_the_references(golden, figures, weighed, leaf):
    of = {
        name.removeprefix("prop_attn."): tensor for name, tensor in golden.items() if name.startswith("prop_attn.")
    }
    facts, (size, tokens, width) = figures["prop_attn"], of["x"].shape
    projected = of["x"] @ of["state.qkv.weight"].T + of["state.qkv.bias"]
    query, key, value = projected.view(size, tokens, 3, facts["heads"], -1).permute(2, 0, 3, 1, 4)
    now = SimpleNamespace(proportional=weighed, bias=size_bias(of["size"].squeeze(-1)))
    module = SimpleNamespace(token_merging=now, is_causal=False)
    seen, _ = attend(module, query, key, value, None, scaling=facts["scale"])
    out = seen.reshape(size, tokens, width) @ of["state.proj.weight"].T + of["state.proj.bias"]
    torch.testing.assert_close(out, of[leaf], **EXACT)
    torch.testing.assert_close(now.key.mean(1), of["metric_mean_k_over_heads"], **EXACT)


@pytest.fixture
def vit(golden, figures):
    """A transformers model with the golden weights."""
    facts = figures["vit"]["config"]
    config = ViTConfig(
        image_size=facts["img_size"], patch_size=facts["patch_size"], hidden_size=facts["embed_dim"],
        num_hidden_layers=facts["depth"], num_attention_heads=facts["heads"],
        layer_norm_eps=facts["layernorm_eps"],
        intermediate_size=facts["mlp_ratio"] * facts["embed_dim"], hidden_act="gelu",
    )  # fmt: skip
    model = ViTModel(config, add_pooling_layer=False).double().eval()
    theirs = {name.removeprefix("vit.state."): tensor for name, tensor in golden.items() if ".state." in name}
    state = {
        "embeddings.cls_token": theirs["cls_token"],
        "embeddings.position_embeddings": theirs["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": theirs["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": theirs["patch_embed.proj.bias"],
    }
    for leaf in ("weight", "bias"):
        state[f"layernorm.{leaf}"] = theirs[f"norm.{leaf}"]
        for layer in range(facts["depth"]):
            block, ours = f"blocks.{layer}", f"layers.{layer}"
            for part, tensor in zip("qkv", theirs[f"{block}.attn.qkv.{leaf}"].chunk(3), strict=True):
                state[f"{ours}.attention.{part}_proj.{leaf}"] = tensor
            for name, other in {
                "attention.o_proj": "attn.proj", "layernorm_before": "norm1", "layernorm_after": "norm2",
                "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
            }.items():  # fmt: skip
                state[f"{ours}.{name}.{leaf}"] = theirs[f"{block}.{other}.{leaf}"]
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("run", RUNS)
def test_a_merged_vit_is_the_references(golden, figures, vit, run):
    of, facts = lambda leaf: golden[f"vit.{run}.{leaf}"], figures["vit"][run]
    wanted, proportional = RUNS[run]
    schedule = MergeSchedule.parse(wanted) if isinstance(wanted, str) else ListedCounts(wanted)
    assert schedule.wanted(4, 37) == facts["schedule"]
    before_norm = []
    vit.layernorm.register_forward_pre_hook(lambda module, args: before_norm.append(args[0]))
    merging = merge_tokens(vit, schedule, proportional)
    with torch.inference_mode():
        out = vit(pixel_values=golden["vit.image"]).last_hidden_state
    left = 37 - torch.tensor(merging.merged).cumsum(0)
    assert left.tolist() == facts["tokens_after_each_block"]
    torch.testing.assert_close(out[:, 0], of("cls_out"), **EXACT)
    (tokens,), groups = before_norm, merging.groups()
    if run == "r0":
        torch.testing.assert_close(tokens, of("last_block_tokens"), **EXACT)
        assert (merging.sizes == 1).all()
        assert torch.equal(groups, torch.arange(37).expand(2, 37))
    else:
        order = in_their_order(source_matrix(groups, tokens.shape[1]), of("final_source"))
        torch.testing.assert_close(take_rows(tokens, order), of("last_block_tokens"), **EXACT)
        theirs = of("final_size").squeeze(-1)
        torch.testing.assert_close(merging.sizes.gather(1, order), theirs, atol=0, rtol=0)
        mean = mean_token(tokens, merging.sizes, 1)
        torch.testing.assert_close(mean.double(), of("size_weighted_patch_mean"), **SINGLE)


class ListedCounts:
    """A schedule that a command line cannot say."""

    def __init__(self, counts):
        self.counts = counts

    def wanted(self, layers, tokens):
        return self.counts

    def per_layer(self, layers, tokens, protected):
        return limited(self.counts, tokens, protected)


def test_schedules_are_the_references(figures):
    tested = 0
    for row in figures["parse_r"]:
        r, slope = row["r"] if row["r_kind"] == "tuple" else (row["r"], 0)
        if row["r_kind"] != "list" and slope in (0, -1):  # constant, or falling from twice as many to none
            text = f"{r}:falling" if slope else str(r)
            assert MergeSchedule.parse(text).wanted(row["num_layers"], 197) == row["out"]
            tested += 1
    assert tested == 8


def test_tokens_left_in_well_known_models(figures):
    for name, counts in figures["token_counts"].items():
        text = name.split("_r")[1]
        schedule = MergeSchedule.parse("8:falling" if text == "(8,-1)" else text)
        merged = schedule.per_layer(len(counts) - 1, counts[0], 1)
        assert (counts[0] - torch.tensor([0, *merged]).cumsum(0)).tolist() == counts, name
