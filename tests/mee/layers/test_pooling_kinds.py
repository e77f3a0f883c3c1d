"""Names of poolings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.layers.pooling import Pool
from mee.layers.pooling_kinds import check_pooling, parse_pooling, pooled_size


@pytest.mark.parametrize(
    ("kind", "parsed"),
    [
        ("mean", ("mean", 0)),
        ("last", ("last", 0)),
        ("netvlad-16", ("netvlad", 16)),
        ("netvlad-1", ("netvlad", 1)),
        ("transformer", ("transformer", 1)),
        ("transformer-3", ("transformer", 3)),
    ],
)
def test_a_kind_is_a_name_and_a_number(kind, parsed):
    assert parse_pooling(kind) == parsed


@pytest.mark.parametrize(
    "kind",
    [
        *("", " mean", "mean ", "MEAN", "median", "mean-1", "max-"),
        *(
            "netvlad",
            "netvlad-",
            "netvlad-0",
            "netvlad-00",
            "netvlad-08",
            "netvlad--3",
            "netvlad-3x",
            "netvlad-1.5",
        ),
        *("netvlad-³", "netvlad-١"),
        *("transformer-", "transformer-0", "transformer-00", "transformer-a"),
    ],
)
def test_what_is_no_kind_is_refused_by_its_name(kind):
    with pytest.raises(ValueError, match=f"pooling must be one of .*got '{kind}'"):
        parse_pooling(kind)


@given(
    st.lists(
        st.sampled_from(["mean", "max", "first", "last", "netvlad-2", "netvlad-5", "transformer"]), unique=True
    ),
    st.integers(1, 9),
)
def test_the_size_is_that_of_what_a_pool_makes(kinds, dim):
    size = pooled_size(kinds, dim)
    if kinds:
        assert Pool(kinds, dim)(torch.zeros(1, 1, dim), torch.ones(1, dtype=torch.int64)).shape == (1, size)
    assert size == dim * sum({"netvlad-2": 2, "netvlad-5": 5, "transformer": 0}.get(kind, 1) for kind in kinds) + (
        256 * ("transformer" in kinds)
    )


def test_none_at_all_the_same_twice_and_unknown_ones_are_refused():
    check_pooling("'audio'", ("mean", "netvlad-4", "netvlad-8"))
    with pytest.raises(ValueError, match="'audio': at least one pooling is needed"):
        check_pooling("'audio'", ())
    with pytest.raises(ValueError, match="'audio': every pooling counts once, got mean, max, mean"):
        check_pooling("'audio'", ("mean", "max", "mean"))
    with pytest.raises(ValueError, match=r"'audio': pooling must be one of .*'netvlad'"):
        check_pooling("'audio'", ("mean", "netvlad"))
