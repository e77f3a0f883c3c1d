"""How experts lie in a packed vector."""

from itertools import product

import pytest
import torch

from mee.layout import Layout


def test_slices_cut_a_packed_vector_into_its_experts():
    layout = Layout(("a", "b", "c"), (2, 1, 3))
    assert layout.total == 6
    assert [list(range(6))[columns] for columns in layout.slices] == [[0, 1], [2], [3, 4, 5]]


@pytest.mark.parametrize("pattern", [p for p in product([False, True], repeat=3) if any(p)])
def test_take_keeps_the_columns_of_the_present_experts(pattern):
    layout, packed = Layout(("a", "b", "c"), (2, 1, 3)), torch.arange(12).view(2, 6)
    columns = [c for c, m in enumerate([0, 0, 1, 2, 2, 2]) if pattern[m]]
    assert layout.take(packed, pattern).equal(packed[:, columns])


@pytest.mark.parametrize(
    ("names", "sizes"), [((), ()), (("a", "a"), (1, 1)), (("a",), (1, 2)), (("a", "b"), (1, 0))]
)
def test_nonsense_is_refused(names, sizes):
    with pytest.raises(ValueError, match=r"expert"):
        Layout(names, sizes)
