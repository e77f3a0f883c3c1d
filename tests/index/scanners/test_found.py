"""What scans return: sorted, cleaned, filtered."""

import numpy as np

from index.scanners.found import among_allowed, best, cleaned
from index.scanners.scanner import Allowed

NOTHING = -np.inf


def test_what_faiss_did_not_find_is_minus_infinity():
    estimates, rows = cleaned(np.array([[0.5, -3.4e38]], np.float32), np.array([[7, -1]]))
    assert estimates.tolist() == [[0.5, NOTHING]]
    assert rows.tolist() == [[7, -1]]


def test_equal_estimates_are_in_the_order_of_rows():
    estimates, rows = best(np.array([[1, 3, 3, 2]], np.float32), np.array([[4, 9, 5, 6]]), 3)
    assert estimates.tolist() == [[3, 3, 2]]
    assert rows.tolist() == [[5, 9, 6]]


def test_what_is_not_allowed_is_left_out_in_order():
    allowed = Allowed(np.array([True, False, True, False]))
    estimates = np.array([[4, 3, 2, 1], [4, 3, 2, NOTHING]], np.float32)
    rows = np.array([[1, 2, 3, 0], [3, 1, 0, -1]])
    estimates, rows = among_allowed(estimates, rows, allowed, 2)
    assert rows.tolist() == [[2, 0], [0, -1]]
    assert estimates.tolist() == [[3, 1], [2, NOTHING]]
