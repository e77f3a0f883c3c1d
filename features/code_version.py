"""The versions of the code that makes streams, for a store's record of where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from features.extractor import Fingerprint

OWN = "mee"
READING = ("av", "numpy", "opencv-python-headless")  # what every extractor's numbers go through
MODELS = ("torch", "transformers")


def code_versions(made_by: Fingerprint) -> dict[str, str]:
    """Versions by package. They are told, not held against anybody: the fingerprint is what must be equal."""
    if made_by.extractor.partition(":")[0] == "imported":
        return _versions([OWN])
    return _versions([OWN, *READING, *(MODELS if made_by.model is not None else ())])


def own_version() -> str:
    """Of mee; empty where it runs without being installed."""
    return _versions([OWN]).get(OWN, "")


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # another build of it, under another name
            continue
    return found
