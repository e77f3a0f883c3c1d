"""Short fits of the gate: most tests are not about how good it is."""

import pytest

from mee.training import gate


@pytest.fixture(autouse=True)
def _short_gate(monkeypatch):
    monkeypatch.setattr(gate, "STEPS", 60)
    monkeypatch.setattr(gate, "OFFSET_STEPS", 40)
