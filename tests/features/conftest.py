"""Fixtures for the readers: media files that the tests write themselves."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def media() -> ModuleType:
    """The module media.py beside this file (tests/ is no package)."""
    spec = importlib.util.spec_from_file_location("mee_test_media", Path(__file__).with_name("media.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
