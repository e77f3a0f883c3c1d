"""`mee`: every command explains itself, at once."""

import importlib.util
import subprocess
import sys

import pytest

from scripts.cli import COMMANDS, main

THERE = [name for name, (module, _) in COMMANDS.items() if importlib.util.find_spec(module)]
HEAVY = (
    "torch",
    "transformers",
    "pandas",
    "cv2",
    "av",
    "faiss",
    "numpy",
    "pyarrow",
    "skimage",
    "matplotlib",
    "h5py",
)
ASK = f"""
import sys
from scripts.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("loaded:", [name for name in {HEAVY} if name in sys.modules], "code:", code)
"""


@pytest.mark.parametrize("command", [[], *([name] for name in THERE)], ids=["mee", *THERE])
def test_help_carries_an_example_and_loads_nothing_heavy(mee, command):
    ran = mee(*command, "--help", code=ASK)
    assert ran.stdout.endswith("loaded: [] code: 0\n")
    assert "example:\n  mee " in ran.stdout
    assert f"mee {' '.join(command)}".strip() in ran.stdout
    assert ran.stderr == ""


def test_every_command_is_listed(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"mee {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("ask", ["-h", "--help", "help"])
def test_ways_to_ask_for_help(capsys, ask):
    assert main([ask]) == 0
    assert "Each command explains itself" in capsys.readouterr().out


def test_no_command_is_wrong_usage(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "mee search --help" in err


def test_an_unknown_command_is_wrong_usage_in_one_line(capsys):
    assert main(["serach", "x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "there is no command 'serach'" in err
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
