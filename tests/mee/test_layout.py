"""Which columns of a packed vector belong to which expert."""

from itertools import product

import pytest
import torch

from mee.layout import Layout


@pytest.mark.parametrize("pattern", [p for p in product([False, True], repeat=3) if any(p)])
def test_slices_cut_a_packed_vector_into_its_experts(pattern):
    layout, packed = Layout(("a", "b", "c"), (2, 1, 3)), torch.arange(12).view(2, 6)
    assert (layout.total, [list(range(6))[s] for s in layout.slices]) == (6, [[0, 1], [2], [3, 4, 5]])
    columns = [c for c, m in enumerate([0, 0, 1, 2, 2, 2]) if pattern[m]]
    assert layout.take(packed, pattern).equal(packed[:, columns])
    for names, sizes in (((), ()), (("a", "a"), (1, 1)), (("a",), (1, 2)), (("a", "b"), (1, 0))):
        with pytest.raises(ValueError, match="expert"):
            Layout(names, sizes)
