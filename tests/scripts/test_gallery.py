"""`mee gallery`: what an index is, whether it is whole, taking clips out, putting it in order."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from index.storage.entries import Entries
from index.storage.snapshot import read_snapshot
from index.storage.writer import IndexWriter
from index.sync import rows_of
from scripts.build_index import main as build_index
from scripts.gallery import main
from scripts.precompute import main as precompute
from scripts.search import main as search

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


@pytest.fixture
def output(prints):
    """What a command says that has nothing to warn of."""

    def run(*arguments):
        out, err = prints(main, *arguments)
        assert err == ""
        return out

    return run


# ---- list


def put(told, clip_ids, videos, available):
    """Clips of which no more is known."""
    with IndexWriter.open(told.index) as writer:
        spans = {"start_s": [0.0] * len(clip_ids), "end_s": [1.0] * len(clip_ids)}
        packed = np.zeros((len(clip_ids), writer.snapshot.layout.total), np.float32)
        table = pa.table({"clip_id": clip_ids, "video": videos, **spans})
        writer.put(Entries(table, packed, np.array([available] * len(clip_ids))))


def test_list(told, output):
    lines = [line.rstrip() for line in output("list", told.index).splitlines()]
    assert lines[0] == f"{told.index}: 10 clips that can be found"
    facts = {line[:10].strip(): line[12:] for line in lines[lines.index("") + 1 :]}
    fingerprint = read_snapshot(told.index).origin.model_fingerprint
    assert (facts["model"], facts["store"]) == (f"{told.model} ({fingerprint})", str(told.store))
    assert (facts["kind"], facts["offsets"]) == ("auto", "-")
    assert facts["columns"].startswith("file_seconds (numbers), file_bytes (whole numbers), width (whole numbers)")
    assert facts["columns"].endswith("split (text), rating (numbers)")
    assert facts["segments"] == "1, with 0 removed rows"
    assert facts["no stream"].startswith("0 clips")
    facts = json.loads(output("list", told.index, "--json"))
    assert (facts["clips"], facts["segments"], facts["without_stream"], facts["removed_rows"]) == (10, 1, 0, 0)
    assert (facts["columns"]["split"], facts["settings"]) == ("text", {"kind": "auto", "recall": None})
    assert sum(row["clips"] for row in facts["patterns"]) == 10
    assert facts["experts"] == dict.fromkeys(("appearance", "motion", "audio", "face"), 8)
    for row in facts["patterns"]:
        assert row["vector_bytes"] == 4 * row["clips"] * 8 * len(row["streams"])
        assert (row["kinds"], row["code_bytes"]) == (["flat"], 0)


def test_list_clips(told, output):
    lines = output("list", told.index, "--clips").splitlines()
    header = lines[0].split()
    assert header[:4] == ["clip_id", "video", "start_s", "end_s"]
    assert header[-3:] == ["split", "rating", "streams"]
    assert lines[1].rstrip().endswith("appearance, motion")
    assert lines[2].split("  ")[-1].strip() == "appearance, motion, audio"
    assert lines[3][lines[0].index("split") :].split()[:2] == ["test", "-"]
    rows = [json.loads(line) for line in output("list", told.index, "--clips", "--json").splitlines()]
    assert [row["clip_id"] for row in rows] == [line.split()[0] for line in lines[1:]] == CLIPS
    assert (rows[0]["split"], rows[2]["rating"], rows[9]["streams"]) == ("test", None, ["appearance"])
    assert {"offset", "pattern", "version"}.isdisjoint({*rows[0], *header})


def test_list_where(told, output):
    out = output("list", told.index, "--where", 'split == "test" and rating is not None', "--json")
    assert [json.loads(line)["clip_id"] for line in out.splitlines()] == ["clip0.mp4"]
    lines = output("list", told.index, "--where", 'split == "none of them"').splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("clip_id")
    assert output("list", told.index, "--where", 'split == "none of them"', "--json") == ""


def test_names_do_nothing_to_a_terminal(told, output):
    put(told, ["\x1b[31mred"], ["a\nb"], [True, False, False, False])
    out = output("list", told.index, "--clips")
    assert "\x1b" not in out
    assert len(out.splitlines()) == 12
    assert "\\x1b[31mred" in out


def test_list_without_stream(told, output):
    assert output("list", told.index, "--without-stream") == ""
    put(told, ["z", "b"], ["z", "b"], [False] * 4)
    assert output("list", told.index, "--without-stream") == "b\nz\n"
    said = output("list", told.index, "--without-stream", "--json")
    assert said == '{"clip_id": "b"}\n{"clip_id": "z"}\n'
    assert "2 clips, which no search finds" in output("list", told.index)
    assert "10 clips that can be found" in output("list", told.index)


# ---- verify


def test_verify(told, output):
    assert output("verify", told.index) == f"{told.index}: every file is valid\n"


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


def test_remove_by_name(told, output):
    out = output("remove", told.index, "--clips", "clip3.mp4", "clip9.png", "clip3.mp4")
    assert out == f"2 clips removed from {told.index}; 8 can be found in it now\n"
    assert ids(told.index) == [name for name in CLIPS if name not in ("clip3.mp4", "clip9.png")]


def test_remove_by_filter(told, output):
    where = ("--where", 'split == "test"')
    assert "2 clips would be removed" in output("remove", told.index, *where, "--dry-run")
    assert ids(told.index) == CLIPS
    assert "2 clips removed" in output("remove", told.index, *where)
    assert "0 clips removed" in output("remove", told.index, *where)
    assert ids(told.index) == [name for name in CLIPS if name not in ("clip0.mp4", "clip2.mp4")]
    assert "segments    1, with 2 removed rows" in output("list", told.index)


def test_remove_all(told, output):
    assert "10 clips removed" in output("remove", told.index, "--where", "end_s >= 0")
    assert "0 clips that can be found" in output("list", told.index)
    assert output("list", told.index, "--clips", "--json") == ""
    assert "0 clips in" in output("compact", told.index)
    assert "every file is valid" in output("verify", told.index)
    assert build_index([str(told.store), str(told.model), str(told.index)]) == 0
    assert ids(told.index) == CLIPS


def test_remove_refuses_unknown_clips(told, fails):
    error = fails(main, "remove", told.index, "--clips", "clip1.mp4", "clip11.mp4")
    assert error.startswith("there is no clip 'clip11.mp4' in the index")
    assert ids(told.index) == CLIPS


# ---- compact


def test_compact(told, output):
    main(["remove", str(told.index), "--where", 'split == "test"'])
    out = output("compact", told.index)
    assert out.startswith(f"8 clips in {told.index}")
    facts = json.loads(output("list", told.index, "--json"))
    assert (facts["clips"], facts["segments"], facts["removed_rows"]) == (8, 1, 0)
    assert facts["columns"]["split"] == "text"
    output("compact", told.index, "--kind", "fastscan", "--recall", "0.9")
    facts = json.loads(output("list", told.index, "--json"))
    assert facts["settings"] == {"kind": "fastscan", "recall": 0.9}


def test_compact_takes_offsets_off(told, tmp_path, output, prints):
    (tmp_path / "bank.txt").write_text("a red thing\na blue thing\n")
    output("normalise", told.index, "--bank", tmp_path / "bank.txt")
    assert "nnn, from 2 captions of bank.txt" in output("list", told.index)
    assert json.loads(output("list", told.index, "--clips", "--json").splitlines()[0])["offset"]
    output("compact", told.index, "--drop-offsets")
    assert read_snapshot(told.index).offsets is None
    assert prints(main, "compact", told.index, "--drop-offsets").err == f"{told.index} has no offsets\n"


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


@pytest.mark.parametrize(
    "where", ["", "None", "split ==", "sp1it == 'x'", "split < 3", "__import__('os')", "(" * 500]
)
def test_filters_that_are_none(fails, told, where):
    for command in ("list", "remove"):
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
        (["remove", "i"], "name the clips to remove"),
        (["remove", "i", "--clips", "a", "--where", "b"], "name the clips to remove"),
        (["list", "i", "--clips", "--without-stream"], "cannot be combined"),
        (["compact", "i", "--recall", "2"], "recall must be above 0 and at most 1"),
        (["compact", "i", "--kind", "flat", "--recall", "0.9"], "'flat' is exact"),
        (["normalise", "i", "--bank", "b", "--neighbours", "0"], "neighbours must be at least 1"),
        (["normalise", "i", "--bank", "b", "--alpha", "-1"], "alpha finite"),
        (["nonsense", "i"], "nonsense"),
    ],
)
def test_wrong_usage(misused, arguments, says):
    assert says in misused(main, *arguments)


def test_reading_needs_no_right_to_write(told, output):
    copy = told.place / "copy"
    shutil.copytree(told.index, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        assert "10 clips" in output("list", copy)
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o700)


# ---- normalise


@pytest.fixture
def bank(tmp_path):
    path = tmp_path / "captions.csv"
    rows = ["video_id,caption,split", "clip0,a red thing,train", "clip1,a blue thing moves,train"]
    path.write_text("\n".join([*rows, "clip2,a secret,test\n"]))
    return path


@pytest.fixture
def hits(prints):
    def run(*arguments):
        return [json.loads(line) for line in prints(search, *arguments, "--json").out.splitlines()]

    return run


def test_search_takes_the_offsets_off(own, bank, hits, prints):
    plain = hits(own.index, "a red thing")
    out, _ = prints(main, "normalise", own.index, "--bank", bank)
    assert out == f"{own.index}: every clip has an offset of nnn, from 2 captions of captions.csv\n"
    facts = read_snapshot(own.index).offsets
    assert (facts["method"], facts["bank"]) == ("nnn", "2 captions of captions.csv")
    shifted = hits(own.index, "a red thing")
    assert any(hit["offset"] for hit in shifted)
    for hit in shifted:
        parts = sum(share["contribution"] for share in hit["experts"].values())
        assert parts - hit["offset"] == pytest.approx(hit["score"], abs=1e-5)
    assert hits(own.index, "a red thing", "--plain") == plain


def test_again_gives_the_same_and_drop_takes_them_off(own, bank, hits, prints):
    plain, shifted = hits(own.index, "a blue thing"), []
    for _ in range(2):
        prints(main, "normalise", own.index, "--bank", bank, "--neighbours", "1")
        shifted.append(hits(own.index, "a blue thing"))
    assert shifted[0] == shifted[1]
    prints(main, "compact", own.index, "--drop-offsets")
    assert hits(own.index, "a blue thing") == plain
    prints(build_index, own.store, own.model, own.index, "--overwrite")


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("video_id,caption,split\nclip0,a thing,test\n", (), "no captions of split 'train'"),
        ("video_id,text\nclip0,a thing\n", (), "no column 'caption'"),
        ("video_id,caption,split\nclip0,a,train\n", ("--alpha", "1e300"), "--alpha"),
    ],
)
def test_what_cannot_be_used(own, fails, tmp_path, bank, text, more, said):
    bank.write_text(text)
    assert said in fails(main, "normalise", own.index, "--bank", bank, *more)
    assert read_snapshot(own.index).offsets is None
    assert "nowhere.txt" in fails(main, "normalise", own.index, "--bank", tmp_path / "nowhere.txt")
    assert "no index at" in fails(main, "normalise", tmp_path / "nowhere", "--bank", bank)


def test_clips_that_come_later_have_none_and_changed_ones_keep_theirs(grown, bank, fails, hits, prints):
    prints(main, "normalise", grown.index, "--bank", bank)
    table = grown.place / "m.csv"
    table.write_text("clip_id,mood\nclip3.mp4,glad\n")
    before = {hit["clip_id"]: hit["offset"] for hit in hits(grown.index, "a thing", "--top", 99)}
    prints(build_index, *grown.arguments, "--metadata", table)
    assert {hit["clip_id"]: hit["offset"] for hit in hits(grown.index, "a thing", "--top", 99)} == before
    shutil.copy(grown.videos / "clip9.png", grown.videos / "new.png")
    prints(precompute, grown.videos, grown.store, "--workers", "1")
    error = fails(build_index, *grown.arguments)
    assert "1 clips have none, 'new.png' among them" in error
    assert "mee gallery compact INDEX --drop-offsets" in error
