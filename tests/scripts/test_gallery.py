"""`mee gallery`: list, verify, compact, remove and normalise."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from index.storage.entries import Entries
from index.storage.manifest import Origin, Recall
from index.storage.snapshot import read_snapshot
from index.storage.writer import IndexWriter
from index.sync import rows_of
from scripts.build_index import main as build_index
from scripts.gallery import main
from scripts.precompute import main as precompute
from scripts.search import main as search

CLIPS = [*(f"clip{n}.mp4" for n in range(9)), "clip9.png"]


@pytest.fixture
def described(own, tmp_path, prints):
    """An index that has metadata."""
    (tmp_path / "m.csv").write_text("video,split,rating\nclip0,test,1.5\nclip1,train,2\nclip2,test,\n")
    own.index = tmp_path / "described"
    prints(build_index, own.store, own.model, own.index, "--metadata", tmp_path / "m.csv")
    return own


def ids(index):
    return sorted(rows_of(read_snapshot(index).segments).index)


@pytest.fixture
def output(prints):
    """The stdout of a command that has nothing to warn of."""

    def run(*arguments):
        out, err = prints(main, *arguments)
        assert err == ""
        return out

    return run


@pytest.fixture
def facts_of(output):
    return lambda index: json.loads(output("list", index, "--json"))


def put(index, clip_ids, videos, available):
    """Add clips with nothing but ids, videos and a moment."""
    with IndexWriter.open(index) as writer:
        spans = {"start_s": [0.0] * len(clip_ids), "end_s": [1.0] * len(clip_ids)}
        packed = np.zeros((len(clip_ids), writer.snapshot.layout.total), np.float32)
        table = pa.table({"clip_id": clip_ids, "video": videos, **spans})
        writer.put(Entries(table, packed, np.array([available] * len(clip_ids))))


def test_list(described, output, facts_of):
    lines = [line.rstrip() for line in output("list", described.index).splitlines()]
    assert lines[0] == f"{described.index}: 10 clips that can be found"
    facts = {line[:10].strip(): line[12:] for line in lines[lines.index("") + 1 :]}
    fingerprint = read_snapshot(described.index).origin.model_fingerprint
    assert (facts["model"], facts["store"]) == (f"{described.model} ({fingerprint})", str(described.store))
    assert (facts["kind"], facts["offsets"]) == ("auto", "-")
    assert facts["columns"].startswith("file_seconds (numbers), file_bytes (whole numbers), width (whole numbers)")
    assert facts["columns"].endswith("split (text), rating (numbers)")
    assert facts["segments"] == "1, with 0 removed rows"
    assert facts["no stream"].startswith("0 clips")
    facts = facts_of(described.index)
    assert (facts["clips"], facts["segments"], facts["without_stream"], facts["removed_rows"]) == (10, 1, 0, 0)
    assert (facts["columns"]["split"], facts["settings"]) == ("text", {"kind": "auto", "recall": None})
    assert facts["experts"] == dict.fromkeys(("appearance", "motion", "audio", "face"), 8)
    assert sum(row["clips"] for row in facts["patterns"]) == 10
    for row in facts["patterns"]:
        assert row["vector_bytes"] == 4 * row["clips"] * 8 * len(row["streams"])
        assert (row["kinds"], row["code_bytes"]) == (["flat"], 0)


def test_list_clips(described, output, json_lines):
    listed = ("list", described.index, "--clips")
    lines = output(*listed).splitlines()
    header = lines[0].split()
    assert (header[:4], header[-3:]) == (["clip_id", "video", "start_s", "end_s"], ["split", "rating", "streams"])
    assert lines[1].rstrip().endswith("appearance, motion")
    assert lines[2].split("  ")[-1].strip() == "appearance, motion, audio"
    assert lines[3][lines[0].index("split") :].split()[:2] == ["test", "-"]
    rows = json_lines(main, *listed)
    assert [row["clip_id"] for row in rows] == [line.split()[0] for line in lines[1:]] == CLIPS
    assert (rows[0]["split"], rows[2]["rating"], rows[9]["streams"]) == ("test", None, ["appearance"])
    assert {"offset", "pattern", "version"}.isdisjoint({*rows[0], *header})
    matching = json_lines(main, *listed, "--where", 'split == "test" and rating is not None')
    assert [row["clip_id"] for row in matching] == ["clip0.mp4"]
    (line,) = output("list", described.index, "--where", 'split == "none of them"').splitlines()
    assert line.startswith("clip_id")
    assert output(*listed, "--where", 'split == "none of them"', "--json") == ""


def test_list_without_stream_and_control_characters_in_names(described, output):
    listed = ("list", described.index, "--without-stream")
    assert output(*listed) == ""
    put(described.index, ["z", "b"], ["z", "b"], [False] * 4)
    assert output(*listed) == "b\nz\n"
    assert output(*listed, "--json") == '{"clip_id": "b"}\n{"clip_id": "z"}\n'
    out = output("list", described.index)
    assert "2 clips, which no search finds" in out
    assert "10 clips that can be found" in out
    put(described.index, ["\x1b[31mred"], ["a\nb"], [True, False, False, False])
    out = output("list", described.index, "--clips")
    assert "\x1b" not in out
    assert len(out.splitlines()) == 14
    assert "\\x1b[31mred" in out


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("index.json", 1),
        ("segments/*/segment.json", 1),
        ("segments/*/clips.arrow", 1),
        ("segments/*/vectors-*", 3),
    ],
)
def test_verify_finds_every_damaged_file(described, output, prints, pattern, count):
    assert output("verify", described.index) == f"{described.index}: every file is valid\n"
    paths = sorted(described.index.glob(pattern))
    assert len(paths) == count
    for path in paths:
        damage(path)
    out, err = prints(main, "verify", described.index, code=1)
    assert out == ""
    lines = sorted(err.splitlines())
    assert len(lines) == count
    assert all(line.startswith("error: ") and path.name in line for line, path in zip(lines, paths))


def test_remove(described, output, fails, prints):
    remove, where = ("remove", described.index), ("--where", 'split == "test"')
    error = fails(main, *remove, "--clips", "clip1.mp4", "clip11.mp4")
    assert error.startswith("clip 'clip11.mp4' is not in the index")
    assert "2 clips would be removed" in output(*remove, *where, "--dry-run")
    assert ids(described.index) == CLIPS
    assert "2 clips removed" in output(*remove, *where)
    assert "0 clips removed" in output(*remove, *where)
    assert ids(described.index) == [name for name in CLIPS if name not in ("clip0.mp4", "clip2.mp4")]
    assert "segments    1, with 2 removed rows" in output("list", described.index)
    out = output(*remove, "--clips", "clip3", "CLIP9.png", "clip3.mp4")
    assert out == f"2 clips removed from {described.index}; 6 can be found in it now\n"
    removed = ("clip0.mp4", "clip2.mp4", "clip3.mp4", "clip9.png")
    assert ids(described.index) == [name for name in CLIPS if name not in removed]
    assert "6 clips removed" in output(*remove, "--where", "end_s >= 0")
    assert "0 clips that can be found" in output("list", described.index)
    assert output("list", described.index, "--clips", "--json") == ""
    assert "0 clips in" in output("compact", described.index)
    assert "every file is valid" in output("verify", described.index)
    prints(build_index, described.store, described.model, described.index)
    assert ids(described.index) == CLIPS


def test_compact(described, output, facts_of):
    output("remove", described.index, "--where", 'split == "test"')
    assert output("compact", described.index).startswith(f"8 clips in {described.index}")
    facts = facts_of(described.index)
    assert (facts["clips"], facts["segments"], facts["removed_rows"]) == (8, 1, 0)
    assert facts["columns"]["split"] == "text"
    output("compact", described.index, "--kind", "fastscan", "--recall", "0.9")
    assert facts_of(described.index)["settings"] == {"kind": "fastscan", "recall": 0.9}


FORMS = [["list"], ["list", "--clips"], ["verify"], ["compact"], ["remove", "--clips", "a"]]


@pytest.mark.parametrize("form", FORMS)
def test_no_index_and_a_damaged_one(fails, described, tmp_path, form):
    command, *rest = form
    assert f"no index at '{tmp_path / 'none'}'; make one with" in fails(main, command, tmp_path / "none", *rest)
    assert not (tmp_path / "none").exists()
    (described.index / "index.json").write_text("{")
    assert "is damaged" in fails(main, command, described.index, *rest)


@pytest.mark.parametrize(
    "where", ["", "None", "split ==", "sp1it == 'x'", "split < 3", "__import__('os')", "(" * 500]
)
def test_filters_that_cannot_be_parsed(fails, described, where):
    for command in ("list", "remove"):
        fails(main, command, described.index, "--where", where)
    assert ids(described.index) == CLIPS


def test_one_writer_at_a_time(described, fails):
    with IndexWriter.open(described.index):
        for form in ("compact", described.index), ("remove", described.index, "--clips", "clip1.mp4"):
            assert "is writing the index at" in fails(main, *form)
        assert "is writing the index at" in fails(build_index, described.store, described.model, described.index)
    assert ids(described.index) == CLIPS


def test_names_of_an_index_reach_no_terminal_as_they_are(described, output):
    """Anyone may have made it."""
    facts = Recall(None, 1.0, 100, 10, 1, "\x1b[2Jsource\u202e", 8)
    with IndexWriter.open(described.index) as writer:
        writer.set_recall(facts)
        writer.set_origin(Origin("\x1b]0;model", "f", "\u2066store"))
    shown = output("list", described.index)
    assert "\\x1b[2Jsource\\u202e" in shown
    assert "\\x1b]0;model" in shown
    assert not {"\x1b", "\u202e", "\u2066"} & set(shown)


def test_listing_needs_no_permission_to_write(described, output):
    paths = [described.index, *described.index.rglob("*")]
    for path in paths:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        assert "10 clips" in output("list", described.index)
    finally:
        for path in paths:
            path.chmod(0o700)


@pytest.fixture
def bank(tmp_path):
    path = tmp_path / "captions.csv"
    rows = ["video_id,caption,split", "clip0,a red thing,train", "clip1,a blue thing moves,train"]
    path.write_text("\n".join([*rows, "clip2,a secret,test\n"]))
    return path


@pytest.fixture
def hits(json_lines):
    return lambda *arguments: json_lines(search, *arguments)


def test_search_subtracts_the_offsets_until_they_are_dropped(own, bank, hits, json_lines, prints):
    plain, source = hits(own.index, "a red thing"), "nnn, from 2 captions of captions.csv"
    out = prints(main, "normalise", own.index, "--bank", bank).out
    assert out == f"{own.index}: every clip has an offset of {source}\n"
    assert source in prints(main, "list", own.index).out
    assert json_lines(main, "list", own.index, "--clips")[0]["offset"]
    facts = read_snapshot(own.index).offsets
    assert (facts["method"], facts["bank"]) == ("nnn", "2 captions of captions.csv")
    shifted = hits(own.index, "a red thing")
    assert any(hit["offset"] for hit in shifted)
    for hit in shifted:
        parts = sum(share["contribution"] for share in hit["experts"].values())
        assert parts - hit["offset"] == pytest.approx(hit["score"], abs=1e-5)
    assert hits(own.index, "a red thing", "--plain") == plain
    again = []
    for _ in range(2):
        prints(main, "normalise", own.index, "--bank", bank, "--neighbours", "1")
        again.append(hits(own.index, "a red thing"))
    assert again[0] == again[1]
    prints(main, "compact", own.index, "--drop-offsets")
    assert read_snapshot(own.index).offsets is None
    assert hits(own.index, "a red thing") == plain
    assert prints(main, "compact", own.index, "--drop-offsets").err == f"{own.index} has no offsets\n"
    prints(build_index, own.store, own.model, own.index, "--overwrite")


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("video_id,caption,split\nclip0,a thing,test\n", (), "no captions of split 'train'"),
        ("video_id,words\nclip0,a thing\n", (), "no column 'caption'"),
        ("video_id,caption,split\nclip0,a,train\n", ("--alpha", "1e300"), "use a smaller --alpha"),
    ],
)
def test_a_bank_that_cannot_be_used(own, fails, tmp_path, bank, text, more, said):
    bank.write_text(text)
    assert said in fails(main, "normalise", own.index, "--bank", bank, *more)
    assert read_snapshot(own.index).offsets is None
    assert "nowhere.txt" in fails(main, "normalise", own.index, "--bank", tmp_path / "nowhere.txt")
    assert "no index at" in fails(main, "normalise", tmp_path / "nowhere", "--bank", bank)


def test_later_clips_have_no_offset_and_changed_ones_keep_theirs(grown, bank, fails, hits, prints):
    prints(main, "normalise", grown.index, "--bank", bank)
    table = grown.place / "m.csv"
    table.write_text("clip_id,mood\nclip3.mp4,glad\n")

    def offsets():
        return {hit["clip_id"]: hit["offset"] for hit in hits(grown.index, "a thing", "--top", 99)}

    before = offsets()
    prints(build_index, *grown.arguments, "--metadata", table)
    assert offsets() == before
    shutil.copy(grown.videos / "clip9.png", grown.videos / "new.png")
    prints(precompute, grown.videos, grown.store, "--workers", "1")
    error = fails(build_index, *grown.arguments)
    assert "1 clips have none, 'new.png' among them" in error
    assert "mee gallery compact INDEX --drop-offsets" in error
