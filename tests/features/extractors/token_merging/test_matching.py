"""Token merging: what is conserved, what order and neighbours do not change, equals and zeros."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from features.extractors.token_merging.matching import grouped, match, mean_token, merge_mean, size_bias, take_rows
from tests.features.tiny_towers import slow_match

CLOSE = {"atol": 1e-10, "rtol": 1e-9}
seeds = st.integers(0, 2**31)


def random_case(seed):
    """Tokens in float64, an r that may be too large, how many are protected, and sizes that are no ones."""
    draw = torch.Generator().manual_seed(seed)
    number = lambda low, high: int(torch.randint(low, high, (), generator=draw))  # noqa: E731
    size, tokens = number(1, 4), number(1, 24)
    protected = min(number(0, 6), tokens)
    metric = torch.randn(size, tokens, 5, generator=draw, dtype=torch.float64)
    x = torch.randn(size, tokens, 4, generator=draw, dtype=torch.float64)
    sizes = torch.randint(1, 9, (size, tokens), generator=draw).double()
    return metric, x, sizes, number(-2, tokens + 3), protected


def as_sets(groups):
    """One row of groups as the sets of tokens that become one."""
    held = groups.tolist()
    return sorted([place for place, other in enumerate(held) if other == token] for token in set(held))


@given(seeds)
def test_tokens_merge_into_the_weighted_mean_of_the_groups_of_the_definition(seed):
    """Sizes add up to the same, and so do tokens times their size; every token is in exactly one group."""
    metric, x, sizes, r, protected = random_case(seed)
    matching = match(metric, r, protected)
    merged, after = merge_mean(x, matching, sizes)
    groups = grouped([matching])
    assert groups.shape == x.shape[:2]
    for item, row in enumerate(groups):
        assert as_sets(row) == sorted(map(sorted, slow_match(metric[item], r, protected)))
        for token in range(merged.shape[1]):
            group = row == token
            mean = (x[item, group] * sizes[item, group, None]).sum(0) / sizes[item, group].sum()
            torch.testing.assert_close(merged[item, token], mean, **CLOSE)
            assert after[item, token] == sizes[item, group].sum()
    assert torch.equal(after.sum(1), sizes.sum(1))
    torch.testing.assert_close((merged * after[..., None]).sum(1), (x * sizes[..., None]).sum(1), **CLOSE)
    assert torch.equal(merged[:, :protected], x[:, :protected])  # first tokens stay as they are and first
    assert torch.equal(after[:, :protected], sizes[:, :protected])
    places = torch.cat([matching.kept, matching.merged], 1).sort(1).values
    assert torch.equal(places, torch.arange(x.shape[1]).expand_as(places))


@given(seeds, st.integers(-3, 0))
def test_merging_no_tokens_changes_nothing(seed, r):
    metric, x, sizes, _, protected = random_case(seed)
    for count, first in ((r, protected), (5, x.shape[1] + 1)):  # or more are protected than there are
        merged, after = merge_mean(x, match(metric, count, first), sizes)
        assert torch.equal(merged, x)
        assert torch.equal(after, sizes)
    x = x[:1].requires_grad_()  # gradients flow
    assert torch.autograd.gradcheck(
        lambda rows: merge_mean(rows, match(metric[:1], 3, protected), sizes[:1])[0], (x,)
    )


@given(seeds)
def test_the_order_of_items_and_inside_the_halves_and_the_scale_of_the_metric_do_not_matter(seed):
    metric, _, _, r, protected = random_case(seed)
    groups = grouped([match(metric, r, protected)])
    assert torch.equal(grouped([match(metric.flip(0), r, protected)]).flip(0), groups)
    scaled = metric.flip(-1) * torch.linspace(0.5, 7, metric.shape[1], dtype=torch.float64)[:, None]
    assert torch.equal(grouped([match(scaled, r, protected)]), groups)
    order = torch.arange(metric.shape[1])
    order[::2], order[1::2] = order[::2].flip(0), order[1::2].flip(0)
    straight, turned = (grouped([match(rows, r, 0)]) for rows in (metric, metric[:, order]))
    for row, other in zip(straight, turned, strict=True):
        assert as_sets(row) == as_sets(other[order.argsort()])


@given(seeds, st.integers(2, 5))
def test_merging_again_and_again_holds_each_patch_once(seed, times):
    metric, x, _, r, protected = random_case(seed)
    sizes, matchings, tokens = torch.ones_like(metric[..., 0]), [], x
    for _ in range(times):
        matchings.append(match(metric, r, protected))
        metric, _ = merge_mean(metric, matchings[-1], sizes)
        tokens, sizes = merge_mean(tokens, matchings[-1], sizes)
    groups = grouped(matchings)
    held = functional.one_hot(groups, tokens.shape[1]).double()
    assert torch.equal(held.sum(1), sizes)
    torch.testing.assert_close(held.mT @ x / sizes[..., None], tokens, **CLOSE)
    torch.testing.assert_close(take_rows(tokens, groups), held @ tokens, **CLOSE)


@given(seeds)
def test_proportional_attention_is_attention_to_each_patch(seed):
    """A token of size s attracts what s tokens like it would."""
    _, x, sizes, _, _ = random_case(seed)
    for item, count in zip(x[:, None, None], sizes.long(), strict=True):
        repeated = item.repeat_interleave(count, -2)
        expected = functional.scaled_dot_product_attention(item, repeated, repeated)
        seen = functional.scaled_dot_product_attention(item, item, item, size_bias(count[None].double()))
        torch.testing.assert_close(seen, expected, **CLOSE)


STRANGE = {
    "zeros": lambda metric: torch.zeros_like(metric),
    "one zero": lambda metric: metric.index_fill(1, torch.tensor([4]), 0),
    "all alike": lambda metric: metric[:, :1].expand_as(metric),
    "pairs alike": lambda metric: metric[:, ::2].repeat_interleave(2, 1),
    "tiny": lambda metric: metric * 1e-30,
    "huge": lambda metric: metric * 1e18,
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("protected", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_and_zeros_are_finite_and_decided_alike_each_time(kind, protected, dtype):
    draw = torch.Generator().manual_seed(3)
    metric = STRANGE[kind](torch.randn(3, 198, 64, generator=draw)).to(dtype)
    x, sizes = torch.randn(3, 198, 6, generator=draw), torch.ones(3, 198)
    matching = match(metric, 13, protected)
    merged, after = merge_mean(x, matching, sizes)
    assert merged.isfinite().all()
    assert (after.sum(1) == 198).all()
    groups = grouped([matching])
    assert torch.equal(groups, grouped([match(metric, 13, protected)]))
    alone = torch.cat([grouped([match(metric[item : item + 1], 13, protected)]) for item in range(3)])
    assert torch.equal(groups, alone)
    others = torch.cat([metric[:1], torch.randn(7, 198, 64, generator=draw).to(dtype)])
    assert torch.equal(grouped([match(others, 13, protected)])[0], groups[0])


def test_of_equals_the_first_counts_and_a_zero_is_alike_to_nothing():
    matching = match(torch.ones(1, 9, 4), 2, 1)
    assert matching.merged.tolist() == [[2, 4]]  # the first that may
    assert matching.into.tolist() == [[3, 3]]  # the first odd token, after 0, 6 and 8
    assert matching.kept.tolist() == [[0, 6, 8, 1, 3, 5, 7]]
    metric = torch.eye(6)[None] + 0.1
    metric[0, 2] = 0
    assert 2 not in match(metric, 2, 0).merged[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_count_as_well(dtype):
    """Sizes stay float32, in which they are exact; tokens keep their type."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1568, 8, generator=draw)
    tokens, sizes = x.to(dtype), torch.ones(2, 1568)
    for _ in range(12):
        tokens, sizes = merge_mean(tokens, match(tokens, 120, 0), sizes)
    assert (tokens.dtype, sizes.dtype) == (dtype, torch.float32)
    assert (sizes.sum(1) == 1568).all()
    mean = (tokens.float() * sizes[..., None]).sum(1) / 1568
    torch.testing.assert_close(mean, x.mean(1), atol=0.01, rtol=0)
    many = mean_token(torch.full((1, 4097, 1), 1.0, dtype=dtype), None)  # averaged in float32
    assert (many.item(), many.dtype) == (1.0, torch.float32)


@given(seeds, st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_a_merged_token_counts_as_the_patches_it_was(seed, sizes):
    tokens = torch.randn(2, 1 + len(sizes), 4, generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor([1, *sizes])
    apart = tokens.repeat_interleave(counts, 1)
    torch.testing.assert_close(mean_token(tokens, counts.expand(2, -1).float(), 1), mean_token(apart, None, 1))
