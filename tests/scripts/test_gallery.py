"""`mee gallery verify`, `remove` and `compact`: whether it is whole, taking clips out, putting it in order."""

import json
import shutil

import pytest

from index.storage.snapshot import read_snapshot
from index.storage.writer import IndexWriter
from index.sync import rows_of
from scripts.build_index import main as build_index
from scripts.gallery import main

CLIPS = [*(f"clip{n}.mp4" for n in range(9)), "clip9.png"]


@pytest.fixture
def told(own, tmp_path):
    """An index that has metadata."""
    (tmp_path / "m.csv").write_text("video,split,rating\nclip0,test,1.5\nclip1,train,2\nclip2,test,\n")
    own.index = tmp_path / "told"
    arguments = [str(own.store), str(own.model), str(own.index), "--metadata", str(tmp_path / "m.csv")]
    assert build_index(arguments) == 0
    return own


def ids(index):
    return sorted(rows_of(read_snapshot(index).segments).index)


def output(capsys, *arguments):
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


# ---- verify


def test_verify(told, capsys):
    out = output(capsys, "verify", told.index)
    assert out == f"{told.index}: every file is what was written\n"


@pytest.mark.parametrize(
    "name", ["index.json", "segments/*/segment.json", "segments/*/clips.arrow", "segments/*/vectors-*"]
)
def test_verify_says_what_is_wrong(told, capsys, name):
    path = min(told.index.glob(name))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    capsys.readouterr()
    assert main(["verify", str(told.index)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert path.name in err


def test_verify_finds_all_that_is_wrong(told, capsys):
    for path in told.index.glob("segments/*/vectors-*"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    capsys.readouterr()
    assert main(["verify", str(told.index)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 3


# ---- remove


def test_remove_by_name(told, capsys):
    out = output(capsys, "remove", told.index, "--clips", "clip3.mp4", "clip9.png", "clip3.mp4")
    assert out == f"2 clips removed from {told.index}; 8 can be found in it now\n"
    assert ids(told.index) == [name for name in CLIPS if name not in ("clip3.mp4", "clip9.png")]


def test_remove_by_filter(told, capsys):
    where = ("--where", 'split == "test"')
    assert (
        output(capsys, "remove", told.index, *where, "--dry-run")
        == f"2 clips would be removed from {told.index}\n"
    )
    assert ids(told.index) == CLIPS
    assert "2 clips removed" in output(capsys, "remove", told.index, *where)
    assert "0 clips removed" in output(capsys, "remove", told.index, *where)
    assert ids(told.index) == [name for name in CLIPS if name not in ("clip0.mp4", "clip2.mp4")]
    assert "segments    1, with 2 rows that no longer count" in output(capsys, "list", told.index)


def test_remove_all(told, capsys):
    assert "10 clips removed" in output(capsys, "remove", told.index, "--where", "end_s >= 0")
    assert "0 clips that can be found" in output(capsys, "list", told.index)
    assert output(capsys, "list", told.index, "--clips", "--json") == ""
    assert "0 clips in" in output(capsys, "compact", told.index)
    assert "every file is what was written" in output(capsys, "verify", told.index)
    assert build_index([str(told.store), str(told.model), str(told.index)]) == 0
    assert ids(told.index) == CLIPS


def test_remove_refuses_unknown_clips(told, fails):
    error = fails(main, "remove", told.index, "--clips", "clip1.mp4", "clip11.mp4")
    assert error.startswith("there is no clip 'clip11.mp4' in the index")
    assert ids(told.index) == CLIPS


# ---- compact


def test_compact(told, capsys):
    main(["remove", str(told.index), "--where", 'split == "test"'])
    out = output(capsys, "compact", told.index)
    assert out.startswith(f"8 clips in {told.index}")
    facts = json.loads(output(capsys, "list", told.index, "--json"))
    assert (facts["clips"], facts["segments"], facts["removed_rows"]) == (8, 1, 0)
    assert json.loads(output(capsys, "list", told.index, "--json"))["columns"]["split"] == "text"
    output(capsys, "compact", told.index, "--kind", "fastscan", "--recall", "0.9")
    facts = json.loads(output(capsys, "list", told.index, "--json"))
    assert facts["settings"] == {"kind": "fastscan", "recall": 0.9}


def test_compact_takes_constants_off(told, tmp_path, capsys):
    (tmp_path / "bank.txt").write_text("a red thing\na blue thing\n")
    output(capsys, "normalise", told.index, "--bank", tmp_path / "bank.txt")
    assert "constants   nnn, from 2 captions of bank.txt" in output(capsys, "list", told.index)
    assert json.loads(output(capsys, "list", told.index, "--clips", "--json").splitlines()[0])["constant"]
    output(capsys, "compact", told.index, "--drop-constants")
    assert read_snapshot(told.index).constants is None
    capsys.readouterr()
    assert main(["compact", str(told.index), "--drop-constants"]) == 0
    assert capsys.readouterr().err == f"{told.index} carries no constants\n"


# ---- refused


FORMS = [["list"], ["list", "--clips"], ["verify"], ["compact"], ["remove", "--clips", "a"]]


@pytest.mark.parametrize("form", FORMS)
def test_no_index(fails, tmp_path, form):
    command, *rest = form
    assert f"no index at '{tmp_path / 'none'}'; make one with" in fails(main, command, tmp_path / "none", *rest)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_index(fails, told, form):
    (told.index / "index.json").write_text("{")
    command, *rest = form
    assert "is damaged" in fails(main, command, told.index, *rest)


@pytest.mark.parametrize("command", ["list", "remove"])
@pytest.mark.parametrize(
    "where",
    [
        "",
        "None",
        "split ==",
        "sp1it == 'x'",
        "split < 3",
        "__import__('os')",
        "(" * 500,
        "split == 'x' if 1 else 2",
    ],
)
def test_filters_that_are_none(fails, told, command, where):
    fails(main, command, told.index, "--where", where)
    assert ids(told.index) == CLIPS


def test_one_writer_at_a_time(told, fails):
    with IndexWriter.open(told.index):
        for form in ("compact", told.index), ("remove", told.index, "--clips", "clip1.mp4"):
            assert "is writing the index at" in fails(main, *form)
        assert "is writing the index at" in fails(build_index, told.store, told.model, told.index)
    assert ids(told.index) == CLIPS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["remove", "i"], "say which clips to remove"),
        (["remove", "i", "--clips", "a", "--where", "b"], "say which clips to remove"),
        (["list", "i", "--clips", "--without-stream"], "ask for it alone"),
        (["compact", "i", "--recall", "2"], "recall must be above 0 and at most 1"),
        (["compact", "i", "--kind", "flat", "--recall", "0.9"], "'flat' is exact"),
        (["nonsense", "i"], "nonsense"),
    ],
)
def test_wrong_usage(capsys, arguments, says):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert says in " ".join(err.split())


def test_reading_needs_no_right_to_write(told, capsys):
    copy = told.place / "copy"
    shutil.copytree(told.index, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        assert "10 clips" in output(capsys, "list", copy)
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o700)


HEAVY = ("torch", "transformers", "numpy", "pandas", "pyarrow", "faiss", "h5py")


@pytest.mark.parametrize("form", [(), ("list",), ("verify",), ("compact",), ("remove",)])
def test_help_carries_an_example_and_loads_nothing_heavy(mee, form):
    code = (
        "import sys\nfrom scripts.gallery import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        f"    print('loaded:', [name for name in {HEAVY} if name in sys.modules], 'code:', end.code)"
    )
    ran = mee(*form, "--help", code=code)
    assert ran.stdout.endswith("loaded: [] code: 0\n")
    assert ("example:\n  mee gallery " in ran.stdout) == (not form)
    assert ran.stderr == ""
