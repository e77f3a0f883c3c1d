"""An index made to do harm, with checksums that are right: one sentence, and nothing outside changes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from index.storage.snapshot import read_snapshot
from index.storage.verify import verify_index
from index.storage.writer import IndexWriter
from mee.errors import InputError
from tests.index.galleries import LAYOUT, ORIGIN, entries_of, random_gallery
from tests.index.storage.hostile import (
    COUNT,
    USES,
    compacted,
    resealed,
    resealed_removed,
    resealed_segment,
    segment_of,
    sentence,
)

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture
def victim(tmp_path):
    """Files outside of the index."""
    folder = tmp_path / "victim"
    (folder / "000009").mkdir(parents=True)
    for name in ("000009/precious", "clips.arrow", "secret.npy", "lock"):
        (folder / name).write_text("precious")
    return folder


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_in_place(path, what, victim):
    path.unlink() if path.is_file() or path.is_symlink() else shutil.rmtree(path)
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    else:
        path.symlink_to(victim if path.suffix == "" else victim / "secret.npy")


PLACES = ["index.json", "removed-*", "segments", "segments/*", "segments/*/segment.json", "segments/*/clips.arrow"]
PLACES += [
    f"segments/*/{name}"
    for name in ("vectors-1111.npy", "rows-1111.npy", "certified-1111.npy", "coding.safetensors")
]


@pytest.mark.parametrize("what", ["a pipe", "a symbolic link", "a folder"])
@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_file_or_folder_of_the_index_is_not_opened(copied, victim, name, what):
    place, before = copied("certified"), tree(victim)
    path = next(place.glob(name))
    if what == "a folder" and path.is_dir():
        what = "a pipe"
    put_in_place(path, what, victim)
    for use in USES:
        said = sentence(use, place)
        assert path.name in said
        assert what in said or "'segments' is no folder" in said.replace(f"{place}/", "")
    if name != "index.json":
        assert any(what in finding for finding in verify_index(place))
    if name in ("index.json", "segments"):
        with pytest.raises(InputError, match=path.name):
            IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True)
    else:
        IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True).close()
        assert verify_index(place) == []
    assert tree(victim) == before


def test_an_overwritten_index_deletes_nothing_behind_links(copied, victim):
    """A link in the place of a segment is removed, as a link; what a temporary file is called is not followed."""
    place, before = copied(), tree(victim)
    (place / "segments" / "000077").symlink_to(victim)
    (place / f".index.json.{os.getpid()}").symlink_to(victim / "lock")
    (place / f".removed-000001-000009.npy.{os.getpid()}").symlink_to(victim / "lock")
    with IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True) as writer:
        (place / f".index.json.{os.getpid()}").unlink(missing_ok=True)
        (place / f".index.json.{os.getpid()}").symlink_to(victim / "lock")
        writer.put(entries_of(random_gallery(3)))
    assert tree(victim) == before
    assert len(read_snapshot(place)) == 3
    assert sorted(path.name for path in place.iterdir()) == ["index.json", "lock", "segments"]


def test_leftovers_may_be_hard_links_or_nested_deeply(copied, victim, monkeypatch):
    """A lock that is another file, too, is held and not written; folders too deep to be deleted stay."""
    place, before, here = copied(), tree(victim), Path.cwd()
    (place / "lock").unlink()
    (place / "lock").hardlink_to(victim / "lock")
    monkeypatch.chdir(place / "segments")
    for _ in range(1500):
        os.mkdir("000099")
        os.chdir("000099")
    monkeypatch.chdir(here)
    compacted(place)
    with IndexWriter.open(place), pytest.raises(InputError, match="another process is writing"):
        IndexWriter.open(place)
    assert tree(victim) == before
    assert verify_index(place) == []
    subprocess.run(["rm", "-r", place], check=True)  # pytest could not, either


@pytest.mark.parametrize("what", ["a pipe", "a symbolic link", "a folder"])
def test_a_lock_that_is_no_file_is_refused(copied, victim, what):
    place, before = copied(), tree(victim)
    put_in_place(place / "lock", what, victim / "lock")
    with pytest.raises(InputError, match=rf"lock' is {what} and not a regular file"):
        IndexWriter.open(place)
    assert tree(victim) == before


SCALE = dict.fromkeys(("mean", "spread", "top", "top_spread"), [0.1] * 4)
RECALL = {"target": None, "reached": 1, "rerank": 9, "at": 10, "queries": 1, "source": "x", "clips": 1}
MANIFESTS = {  # what is said, where, and in the place of what
    "an expert that is a path": ("layout", "names", ["../x", "motion", "audio", "face"]),
    "an expert that is a number": ("layout", "names", [1, 2, 3, 4]),
    "many experts": (
        "layout",
        {"names": [f"e{n}" for n in range(99)], "sizes": [1] * 99, "missing": "evidence", "words": []},
    ),
    "words of no expert": ("layout", "words", ["speech"]),
    "words of a list": ("layout", "words", [["face"]]),
    "words twice": ("layout", "words", ["face", "face"]),
    "a size that is large": ("layout", "sizes", [10**12, 3, 4, 2]),
    "sizes that are large together": ("layout", "sizes", [60000, 6000, 4, 2]),
    "a size that is true": ("layout", "sizes", [True, 3, 4, 2]),
    "a size that is text": ("layout", "sizes", ["6", 3, 4, 2]),
    "no rule of missing streams": ("layout", {"names": ["a"], "sizes": [1]}),
    "an unknown rule of missing streams": ("layout", "missing", "drop"),
    "a rule of missing streams that is a list": ("layout", "missing", ["evidence"]),
    "a large generation": ("generation", 10**30),
    "a generation below 0": ("generation", -1),
    "a generation that is text": ("generation", "7"),
    "an origin that is a list": ("origin", ["/", "", ""]),
    "a model that is no text": ("origin", "model", ["/"]),
    "offsets that are a list": ("offsets", [1]),
    "a recall of text": ("settings", {"kind": "fastscan", "recall": "all"}),
    "a recall without facts": ("recall", {"reached": 1}),
    "a scale of other experts": ("scale", SCALE | {"mean": [0.0]}),
    "a scale that is not finite": ("scale", SCALE | {"top": [10**400] * 4}),
    "a scale without spread": ("scale", SCALE | {"spread": [0.1, 0.1, 0, 0.1]}),
    "a scale of texts": ("scale", SCALE | {"mean": ["0"] * 4}),
    "half a scale": ("scale", {"mean": [0.1] * 4}),
    "no candidates": ("recall", RECALL | {"rerank": 0}),
    "candidates of text": ("recall", RECALL | {"rerank": "9"}),
    "many candidates": ("recall", RECALL | {"rerank": 10**400}),
    "a recall that is large": ("recall", RECALL | {"reached": 10**400}),
    "a segment twice": ("segments", [{"name": "000001", "sha256": "", "removed": None}] * 2),
    "a segment that is a list": ("segments", [["000001", "", None]]),
    "a hidden segment": ("segments", 0, "name", ".000001"),
    "other digits": ("segments", 0, "name", "\u0660" * 6),
    "a checksum of a number": ("segments", 0, "sha256", 7),
    "removed rows that are text": ("segments", 0, "removed", "removed-000001-000001.npy"),
    "removed rows that are a path": ("segments", 0, "removed", "name", "/dev/zero"),
}


def put(content, where, key, value):
    """A value in the place of another, some levels deep."""
    for name in where:
        content = content[name]
    content[key] = value


def test_hostile_manifests(copied, says):
    place, said = copied(), {}
    text = (place / "index.json").read_bytes()
    for name, (*where, key, value) in MANIFESTS.items():
        resealed(place, partial(put, where=where, key=key, value=value))
        said[name] = sentence("open", place)
        assert {sentence(use, place) for use in USES} == {said[name]}
        (place / "index.json").write_bytes(text)
    says("\n".join(f"{name}: {words}" for name, words in said.items()))


FACTS = {
    "clips below 0": ("clips", -1), "clips that are text": ("clips", "200"), "many clips": ("clips", 10**15),
    "fewer clips than rows": ("clips", 3), "a pattern that is a path": ("partitions", "../x", 3),
    "a pattern of nothing": ("partitions", "0000", 3), "rows that are text": ("partitions", "1111", "3"),
    "rows that are true": ("partitions", "1111", True), "many rows": ("partitions", "1111", 10**15),
    "an unknown kind": ("kinds", "1111", "../round"), "a kind that is a list": ("kinds", "1111", ["flat"]),
    "a kind of nothing": ("kinds", "0000", "flat"), "codes that are not there": ("kinds", "1111", "certified"),
    "a file outside": ("files", "../../../victim/secret.npy", [8, "", ""]),
    "a file of its own": ("files", "mine", [8, "", ""]), "no table": ("files", {"rows-1111.npy": [8, "", ""]}),
    "a size of text": ("files", "clips.arrow", ["8", "", ""]),
    "a file that is a number": ("files", "clips.arrow", 8), "files that are a list": ("files", ["clips.arrow"]),
    "patterns that are a list": ("partitions", ["1111"]), "one more entry": ("more", 1),
}  # fmt: skip


def test_hostile_facts_of_a_segment(copied, victim, says):
    said, before = {}, tree(victim)
    for name, (*where, key, value) in FACTS.items():
        place = copied()
        resealed_segment(place, segment_of(place), partial(put, where=where, key=key, value=value))
        said[name] = sentence("open", place)
        assert {sentence(use, place) for use in USES} == {said[name]}
        assert verify_index(place) == [said[name]]
    assert tree(victim) == before
    says("\n".join(f"{name}: {words}" for name, words in said.items()))


def header(shape, descr="<i8", order="False"):
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


ARRAYS = {
    "objects": header("(1,)", "|O"), "a large shape": header("(1000000000000,)"),
    "a shape below 0": header("(-1,)"), "two axes": header("(1, 1)"), "one number of 0 axes": header("()"),
    "flags": header("(1,)", "|b1"), "another order": header("(1,)", ">i8"),
    "by column": header("(1,)", order="True"), "nested": "(" * 9000, "an open text": '{\'descr\': """',
    "a call": header("__import__('os').getpid()"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_hostile_heads_of_arrays(copied, name):
    place, head = copied(), ARRAYS[name].encode()
    folder, wrong = segment_of(place), r"it holds|it has|it does not begin|.* no more than"
    for path in (next(place.glob("removed-*")), folder / "rows-1111.npy", folder / "vectors-1111.npy"):
        content = path.read_bytes()
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(8))
        resealed_segment(place, folder)
        resealed_removed(place)
        assert re.search(rf"{path.name}' is damaged \(({wrong})", sentence("open", place))
        path.write_bytes(content)


@pytest.mark.parametrize("rows", [[-1], [COUNT], [3, 3], [5, 4], [2**62]])
def test_removed_rows_that_are_no_rows(copied, rows):
    place = copied()
    path = next(place.glob("removed-*"))
    np.save(path, np.array(rows))
    resealed_removed(place)
    assert "its rows are not those of 200 clips" in sentence("open", place)
    assert any("its rows are not" in finding for finding in verify_index(place))


# ---- writers


HOLD = """
import sys
from functools import partial
from pathlib import Path
from index.storage import IndexWriter
with IndexWriter.open(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_of_two_writers_one_goes_on_and_the_other_says_who_writes(copied):
    place = copied()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment, host = {**os.environ, "PYTHONPATH": str(ROOT)}, re.escape(os.uname().nodename)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], env=environment, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        who = rf"another process \({process.pid} on {host}, since 20[\d: +-]+\) is writing"
        with pytest.raises(InputError, match=rf"{who} the index at '.*ix'; wait until it is done, or stop it"):
            IndexWriter.open(place)
        with pytest.raises(InputError, match=who):  # what was written about the first one stays
            IndexWriter.create(place, LAYOUT, ORIGIN, overwrite=True)
        for content in ("", "[" * 900, '{"host": 1}', "\0" * 5000):
            (place / "lock").write_text(content)
            with pytest.raises(InputError, match="another process is writing the index"):
                IndexWriter.open(place)
        (place / "lock").write_text(json.dumps({"host": "\x1b[2J", "process": "\u202e", "since": "x\n"}))
        with pytest.raises(InputError, match=r"another process \(\\u202e on \\x1b\[2J, since x\\n\) is writing"):
            IndexWriter.open(place)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    compacted(place)  # a dead one never blocks
    assert verify_index(place) == []


def test_folders_that_are_made_for_an_index_are_synced(tmp_path, monkeypatch):
    synced, real = set(), os.fsync

    def fsync(handle):
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    place = tmp_path / "a" / "b" / "ix"
    IndexWriter.create(place, LAYOUT, ORIGIN).close()
    assert {str(path) for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b", place)} <= synced
