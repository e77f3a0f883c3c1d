"""Which kind a unit gets, and what settings are refused."""

import re
import subprocess
import sys
from importlib import import_module

import pytest

from index.scanners.kinds import KINDS, SMALL, Settings, choose, files
from index.scanners.scanner import Scanner


def test_the_table_names_scanners_by_their_kind():
    for kind, place in KINDS.items():
        module, _, name = place.partition(":")
        scanner = getattr(import_module(module), name)
        assert issubclass(scanner, Scanner)
        assert scanner.kind == kind


@pytest.mark.parametrize(
    ("settings", "larger"),
    [
        (Settings(), "certified"),
        (Settings(recall=0.9), "fastscan"),
        (Settings("flat"), "flat"),
        (Settings("certified"), "certified"),
        (Settings("fastscan", 1.0), "fastscan"),
    ],
)
def test_units_of_few_rows_stay_flat(settings, larger):
    assert choose(settings, SMALL) == larger
    assert choose(settings, SMALL - 1) == choose(settings, 1) == "flat"


def test_what_is_not_asked_for_stays():
    assert Settings("flat").changed(None, None) == Settings("flat")
    assert Settings("fastscan", 0.9).changed("auto", None) == Settings()
    assert Settings().changed(None, 0.9) == Settings("auto", 0.9)


@pytest.mark.parametrize(
    ("kind", "recall", "says"),
    [
        ("annoy", None, "there is no kind 'annoy'; there are auto, flat, certified, fastscan"),
        ("fastscan", 0.0, "recall must be above 0 and at most 1, got 0.0"),
        ("auto", 1.01, "recall must be above 0 and at most 1, got 1.01"),
        ("auto", float("nan"), "recall must be above 0 and at most 1, got nan"),
        ("flat", 0.9, "'flat' is exact: leave recall out, or choose fastscan"),
        ("certified", 1.0, "'certified' is exact: leave recall out, or choose fastscan"),
    ],
)
def test_nonsense_is_refused(kind, recall, says):
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        Settings(kind, recall)


def test_files_are_known_without_saving(tmp_path):
    assert files("flat", tmp_path / "x") == ()
    for kind in ("certified", "fastscan"):
        assert [path.name for path in files(kind, tmp_path / "x.faiss")] == ["x.faiss", "x.faiss.safetensors"]


def test_the_table_loads_without_faiss():
    code = "import sys, index.scanners.kinds; print('faiss' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
