"""`mee`: the help of every command, exit codes, and what all commands share."""

import json
import re
import subprocess
import sys
import time
from dataclasses import fields
from itertools import pairwise
from unittest.mock import Mock

import pytest
import torch

from features.errors import InputError as FeaturesInputError
from features.job.result import JobReport, Outcome
from index.request import Request
from mee.errors import InputError
from scripts.cli import COMMANDS, main
from scripts.console import (
    bar,
    clock,
    complain,
    errors_as_sentences,
    job_progress,
    pick_device,
    print_table,
    resumable,
)

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
    assert "VIDEOS|STORE" in helps["overlap"][1]
    assert {command: loaded for command, (_, _, loaded) in helps.items() if loaded} == {}
    assert {command: found[0] for command, (_, text, _) in helps.items() if (found := NOISE.search(text))} == {}


def test_help_starts_with_the_command_shows_an_example_and_explains_every_flag(helps):
    assert {"search", "gallery normalise", "store verify", "evaluate --scores theirs.npz"} <= helps.keys()
    for command, (_, text, _) in helps.items():
        name = command.partition(" --")[0]
        assert text.startswith(f"usage: mee {name} ") or not command
        assert "example:\n  mee " in text or name.count(" ")
        assert f"mee {name}".strip() in text
        for line, following in pairwise(text.splitlines()):
            flag = re.match(r"  (--[a-z]\S+)( \S+)* *$", line)
            assert not flag or re.match(r" {6,}\S", following), f"mee {command}: {flag[1]}"


def test_a_field_of_the_request_is_a_flag(helps):
    """A new search option needs a field of Request and what applies it: no code here."""
    names = {field.name for field in fields(Request)} - {"sentence", "example"}
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


def test_the_exit_code_reaches_the_shell_and_an_error_is_one_line(mee, tmp_path):
    assert mee("nonsense").returncode == 2
    assert mee("search", "--top", "3").returncode == 2
    place = tmp_path / "nowhere"
    ran = mee("precompute", place, tmp_path / "store")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"error: there is nothing at '{place}'; name a folder of videos, or one video\n"
    assert list(tmp_path.iterdir()) == []


def test_folders_named_like_packages_hide_nothing(tmp_path):
    """`mee index store/ model/ index/` makes such a folder, and Python is started beside it."""
    for name in ("index", "mee", "features"):
        (tmp_path / name).mkdir()
    code = "from index import Searcher; from mee.layout import Layout; print(Searcher.__name__, Layout.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.stdout == "Searcher Layout\n", ran.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("it is wrong"), "error: it is wrong"),
        (FeaturesInputError("it is wrong"), "error: it is wrong"),
        (FileNotFoundError(2, "No such file or directory", "a b"), "error: No such file or directory: 'a b'"),
        (OSError(28, "No space left on device"), "error: No space left on device"),
        (OSError("odd"), "error: odd"),
        (FileNotFoundError(2, "No such file", "a\x1b[2J\u202e"), r"error: No such file: 'a\x1b[2J\u202e'"),
        (MemoryError(), "error: there is not enough memory; close other programs, or take a smaller input"),
        (
            UnicodeEncodeError("ascii", "süß", 1, 2, "ordinal not in range"),
            "error: 's\xfc\xdf' cannot be written in the encoding ascii; choose a locale with UTF-8, such as "
            "LC_ALL=C.UTF-8",
        ),
    ],
)
def test_an_input_error_is_one_line_on_stderr(capsys, error, line):
    assert errors_as_sentences(Mock(side_effect=error))([]) == 1
    assert capsys.readouterr() == ("", line + "\n")


def test_ctrl_c_is_no_error_and_a_bug_is_a_traceback(capsys):
    stopped = Mock(side_effect=KeyboardInterrupt)
    assert errors_as_sentences(stopped)([]) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert resumable(stopped)([]) == 130
    assert "goes on from there" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        errors_as_sentences(Mock(side_effect=ZeroDivisionError))([])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *((name, name) for name in ("[red]a[/red].mp4", "[/b].mp4", ":car:.mp4", "a[1].mp4", "漢字.mp4", "\\[x]")),
        ("a\x1b[31m\nb\x07.mp4", "a\\x1b[31m\\nb\\x07.mp4"),
    ],
)
def test_a_table_prints_names_as_they_are_but_escapes_control_characters(capsys, name, shown):
    print_table(f"title {shown}", ["file", shown], [[name, "1"]])
    title, header, row = capsys.readouterr().out.splitlines()
    assert title.rstrip() == f"title {shown}"
    assert header.split() == ["file", shown]
    assert row.split() == [shown, "1"]


def test_a_table_prints_all_of_long_names(capsys):
    print_table("t" * 300, ["file", "n"], [["x" * 300, "1"]])
    out = capsys.readouterr().out
    assert ("t" * 300 in out, out.count("x")) == (True, 300)
    print_table("t" * 2_000_000, ["f" * 2_000_000, "n"], [["x" * 2_000_000, "1"]])
    complain("y" * 2_000_000)
    out, err = capsys.readouterr()
    assert [out.count(letter) for letter in "tfx"] == [4000] * 3
    assert err == f"{'y' * 2000} … {'y' * 2000}\n"


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.5, 0.999, 1, 1.5, -1, 1 / 3])
def test_a_bar_is_as_long_as_its_share(share):
    drawn = bar(share, 10)
    assert len(drawn) <= 10
    eighths = drawn.count("█") * 8 + (" ▏▎▍▌▋▊▉".index(drawn[-1]) if drawn and drawn[-1] != "█" else 0)
    assert eighths == round(80 * min(1, max(0, share)))


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [
        (0, 1, "0:00.0"), (9.96, 1, "0:10.0"), (59.97, 1, "1:00.0"), (61.5, 1, "1:01.5"),
        (3599.99, 1, "1:00:00.0"), (7325, 1, "2:02:05.0"), (7.4, 0, "0:07"), (3599.6, 0, "1:00:00"),
        (0, 0, "0:00"), (61, 0, "1:01"), (100 * 3600 + 62, 0, "100:01:02"),
    ],
)  # fmt: skip
def test_clock(seconds, digits, text):
    assert clock(seconds, digits) == text


def test_an_unavailable_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == pick_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="use --device cpu"):
        pick_device("cuda")


def test_a_closed_pipe_is_no_traceback(mee):
    code = (
        "import sys\nfrom scripts.console import errors_as_sentences, print_table\n"
        "@errors_as_sentences\ndef main(argv=None):\n"
        "    import os\n    reader, writer = os.pipe()\n    os.close(reader)\n    os.dup2(writer, 1)\n"
        "    print_table('t', ['a'], [['b' * 100]] * 1000)\n    sys.stdout.flush()\n    return 0\n"
        "sys.exit(main([]))"
    )
    ran = mee(code=code)
    assert (ran.returncode, ran.stderr) == (1, "")


def test_without_a_terminal_a_plain_line_is_printed_now_and_then(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    report = JobReport(files=10, already=2)
    with job_progress() as show:
        show(report)
        now[0] += 29
        show(report)
        assert capsys.readouterr().err == ""
        now[0] += 1
        show(report)
        assert capsys.readouterr().err == ("0 of 8 files, 0.0 clips/s, 0.0 x real time, ? left, 0 failed\n")
        now[0] += 30
        for number in range(3):
            report.add(Outcome(f"{number}.mp4", "ok", "", 2))
        report.add(Outcome("bad.mp4", "failed", "why", 0))
        report.clips_so_far, report.seconds_so_far = 6, 300.0
        show(report)
        show(report)
    assert capsys.readouterr().err == "4 of 8 files, 0.1 clips/s, 5.0 x real time, 1:00 left, 1 failed\n"
    added = [Outcome("b", "degraded", "x", 1), Outcome("c", "timed out", "", 0)]
    for outcome in added:
        report.add(outcome)
    assert (report.outcomes[4:], report.degraded, report.clips) == (added, added[:1], 7)
    assert report.failures == [report.outcomes[3], added[1]]
