"""`mee`: the help of every command is complete, plain and quick; the shell gets the exit code."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise

import pytest

from index.request import Request
from scripts.cli import COMMANDS, main

HEAVY = ("torch", "transformers", "pandas", "cv2", "av", "faiss", "numpy", "pyarrow", "skimage", "matplotlib")
HEAVY += ("h5py", "safetensors")
READ_ALL = f"""
import contextlib, io, json, re, sys
from scripts.cli import COMMANDS, main
helps, waiting = {{}}, [[], *([name] for name in COMMANDS), ["evaluate", "--scores", "theirs.npz"]]
while waiting:
    command = waiting.pop()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main([*command, "--help"])
        except SystemExit as end:
            code = end.code
    helps[" ".join(command)] = code, out.getvalue(), [name for name in {HEAVY} if name in sys.modules]
    found = re.match(r"usage: mee (\\w+) \\[-h\\] {{(.*)}}\\n", out.getvalue())
    waiting += [[found[1], form] for form in found[2].split(",")] if found else []
print(json.dumps(helps))
"""
NOISE = re.compile(r"\(default: *(None|\['None'\]|False|'')?\)|\{None|None\}|form\.")


@pytest.fixture(scope="module")
def helps(mee):
    """By command, sub-commands included: exit code, help, heavy modules loaded so far. All from one process."""
    ran = mee(code=READ_ALL)
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def test_help_loads_nothing_heavy_and_has_no_noise(helps):
    assert {code for code, _, _ in helps.values()} == {0}
    assert {command: loaded for command, (_, _, loaded) in helps.items() if loaded} == {}
    assert {command: found[0] for command, (_, text, _) in helps.items() if (found := NOISE.search(text))} == {}


def test_help_starts_with_the_command_and_shows_an_example(helps):
    assert {"search", "gallery normalise", "store verify", "evaluate --scores theirs.npz"} <= helps.keys()
    for command, (_, text, _) in helps.items():
        name = command.partition(" --")[0]
        assert text.startswith(f"usage: mee {name} ") or not command
        assert "example:\n  mee " in text or name.count(" ")
        assert f"mee {name}".strip() in text


def test_every_flag_has_help(helps):
    for command, (_, text, _) in helps.items():
        lines = text.splitlines()
        for line, following in pairwise(lines):
            named = re.match(r"  (--[a-z]\S+)( \S+)* *$", line)
            assert not named or re.match(r" {6,}\S", following), f"mee {command}: {named[1]}"


def test_a_field_of_the_request_is_a_flag(helps):
    """A new search option needs a field of Request and what applies it: no code here."""
    names = {field.name for field in fields(Request)} - {"sentence"}
    assert [name for name in names if f"--{name.replace('_', '-')} " not in helps["search"][1]] == []


@pytest.mark.parametrize("flag", ["-h", "--help", "help"])
def test_help_lists_every_command(capsys, flag):
    assert main([flag]) == 0
    out = capsys.readouterr().out
    assert all(f"mee {name} " in out for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mee ")


@pytest.mark.parametrize(("arguments", "says"), [([], "mee search --help"), (["serach", "x"], "'serach'")])
def test_no_command_and_an_unknown_one_are_wrong_usage(capsys, arguments, says):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n") == 1) == ("", bool(arguments))
    assert says in err
    assert "search" in err


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
