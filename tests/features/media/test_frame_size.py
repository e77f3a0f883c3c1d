"""How large an upright frame becomes."""

import pytest

from features.media.orientation import upright_size


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((640, 360, 1.0, False), (112, 199)),
        ((640, 360, 1.0, True), (199, 112)),
        ((720, 576, 64 / 45, False), (112, 199)),
        ((64, 48, 1.0, False), (112, 149)),
        ((10_000, 10, 1.0, False), (112, 448)),
        ((10, 10_000, 1.0, False), (448, 112)),
    ],
)
def test_upright_size(stored, expected):
    assert upright_size(*stored, 112) == expected
