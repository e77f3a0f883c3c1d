import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_syncing():
    """No test here cuts the power; syncing would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
