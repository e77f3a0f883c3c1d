"""Joint computing in one process is no computing at all; shares tile a batch. Several: test_distributed.py."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mee.distributed
from mee.distributed import joint_numbers, joint_rows, joint_sum, process_number, processes, share


def test_one_process_changes_nothing():
    x = torch.randn(3, 2, requires_grad=True)
    assert (processes(), process_number()) == (1, 0)
    assert joint_sum(x) is x
    assert joint_rows(x, 3) is x
    assert share(3) == slice(0, 3)
    assert joint_numbers([1.0, 2.5], torch.device("cpu")) == [1.0, 2.5]


@given(st.integers(0, 40), st.integers(1, 9))
def test_shares_tile_the_batch_evenly(rows, count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mee.distributed, "processes", lambda: count)
        lengths, whole = [], []
        for number in range(count):
            patch.setattr(mee.distributed, "process_number", lambda number=number: number)
            mine = list(range(rows))[share(rows)]
            lengths.append(len(mine))
            whole += mine
    assert whole == list(range(rows))
    assert max(lengths) - min(lengths) <= 1
    assert rows < count or min(lengths) >= 1
