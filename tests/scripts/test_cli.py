"""`mee`: every command explains itself, at once."""

import importlib.util
import subprocess
import sys

import pytest

from scripts.cli import COMMANDS, main

THERE = [name for name, (module, _) in COMMANDS.items() if importlib.util.find_spec(module)]
FORMS = [["store", form] for form in ("list", "verify", "merge", "export")]
HEAVY = {"torch", "transformers", "pandas", "cv2", "av", "faiss", "numpy", "pyarrow", "skimage", "matplotlib"}
HEAVY |= {"h5py", "safetensors"}
ASK = f"""
import sys
from scripts.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("loaded:", [name for name in {HEAVY} if name in sys.modules], "code:", code)
"""


@pytest.mark.parametrize("command", [[], *([name] for name in THERE), *FORMS], ids=lambda words: " ".join(words))
def test_help_carries_an_example_and_loads_nothing_heavy(mee, command):
    ran = mee(*command, "--help", code=ASK)
    assert ran.stdout.endswith("loaded: [] code: 0\n")
    assert command in FORMS or "example:\n  mee " in ran.stdout
    assert f"mee {' '.join(command)}".strip() in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize("ask", ["-h", "--help", "help"])
def test_help_lists_every_command(capsys, ask):
    assert main([ask]) == 0
    out = capsys.readouterr().out
    assert all(f"mee {name} " in out for name in COMMANDS)


@pytest.mark.parametrize(("arguments", "says"), [([], "mee search --help"), (["serach", "x"], "'serach'")])
def test_no_command_and_an_unknown_one_are_wrong_usage(capsys, arguments, says):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n") == 1) == ("", bool(arguments))
    assert says in err
    assert "search" in err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mee ")


def test_the_exit_code_reaches_the_shell(mee, tmp_path):
    assert mee("nonsense").returncode == 2
    assert mee("precompute", tmp_path / "nowhere", tmp_path / "store").returncode == 1
    assert mee("search", "--top", "3").returncode == 2


def test_folders_named_like_packages_hide_nothing(tmp_path):
    """`mee index store/ model/ index/` makes such a folder, and Python is started beside it."""
    for name in ("index", "mee", "features"):
        (tmp_path / name).mkdir()
    code = "from index import Searcher; from mee.layout import Layout; print(Searcher.__name__, Layout.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.stdout == "Searcher Layout\n", ran.stderr
