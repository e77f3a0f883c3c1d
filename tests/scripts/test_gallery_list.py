"""`mee gallery list`: what an index is, and a line a clip."""

import json

import numpy as np
import pyarrow as pa
import pytest

from index.storage.entries import Entries
from index.storage.snapshot import read_snapshot
from index.storage.writer import IndexWriter
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


def output(capsys, *arguments):
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_list(told, capsys):
    out = output(capsys, "list", told.index)
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == f"{told.index}: 10 clips that can be found"
    facts = {line[:10].strip(): line[12:] for line in lines[lines.index("") + 1 :]}
    snapshot = read_snapshot(told.index)
    assert facts["model"] == f"{told.model} ({snapshot.origin.model_fingerprint})"
    assert facts["store"] == str(told.store)
    assert (facts["kind"], facts["constants"]) == ("auto", "-")
    assert facts["columns"].startswith("file_seconds (numbers), file_bytes (whole numbers), width (whole numbers)")
    assert facts["columns"].endswith("split (text), rating (numbers)")
    assert facts["segments"] == "1, with 0 rows that no longer count"
    assert facts["no stream"].startswith("0 clips")


def test_list_as_json(told, capsys):
    facts = json.loads(output(capsys, "list", told.index, "--json"))
    assert (facts["clips"], facts["segments"], facts["without_stream"], facts["removed_rows"]) == (10, 1, 0, 0)
    assert facts["columns"]["split"] == "text"
    assert facts["settings"] == {"kind": "auto", "recall": None}
    assert sum(row["clips"] for row in facts["patterns"]) == 10
    assert facts["experts"] == dict.fromkeys(("appearance", "motion", "audio", "face"), 8)
    width = {"appearance, motion, audio": 24, "appearance, motion": 16, "appearance": 8}
    for row in facts["patterns"]:
        assert row["vector_bytes"] == 4 * row["clips"] * width[", ".join(row["streams"])]
        assert (row["kinds"], row["code_bytes"]) == (["flat"], 0)


def test_list_clips(told, capsys):
    lines = output(capsys, "list", told.index, "--clips").splitlines()
    header = lines[0].split()
    assert header[:4] == ["clip_id", "video", "start_s", "end_s"]
    assert header[-3:] == ["split", "rating", "streams"]
    assert "version" not in header
    assert [line.split()[0] for line in lines[1:]] == CLIPS
    assert lines[1].rstrip().endswith("appearance, motion")
    assert lines[2].split("  ")[-1].strip() == "appearance, motion, audio"
    assert lines[3][lines[0].index("split") :].split()[:2] == ["test", "-"]


def test_list_clips_as_json(told, capsys):
    rows = [json.loads(line) for line in output(capsys, "list", told.index, "--clips", "--json").splitlines()]
    assert [row["clip_id"] for row in rows] == CLIPS
    assert rows[0]["split"] == "test"
    assert rows[2]["rating"] is None
    assert rows[9]["streams"] == ["appearance"]
    assert {"constant", "pattern", "version"}.isdisjoint(rows[0])


def test_list_where(told, capsys):
    out = output(capsys, "list", told.index, "--where", 'split == "test" and rating is not None', "--json")
    assert [json.loads(line)["clip_id"] for line in out.splitlines()] == ["clip0.mp4"]
    lines = output(capsys, "list", told.index, "--where", 'split == "none of them"').splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("clip_id")
    assert output(capsys, "list", told.index, "--where", 'split == "none of them"', "--json") == ""


def test_names_do_nothing_to_a_terminal(told, capsys):
    with IndexWriter.open(told.index) as writer:
        layout = writer.snapshot.layout
        table = pa.table({"clip_id": ["\x1b[31mred"], "video": ["a\nb"], "start_s": [0.0], "end_s": [1.0]})
        entries = Entries(table, np.zeros((1, layout.total), np.float32), np.array([[True, False, False, False]]))
        writer.put(entries)
    out = output(capsys, "list", told.index, "--clips")
    assert "\x1b" not in out
    assert len(out.splitlines()) == 12
    assert "\\x1b[31mred" in out


def test_list_without_stream(told, capsys):
    assert output(capsys, "list", told.index, "--without-stream") == ""
    with IndexWriter.open(told.index) as writer:
        layout = writer.snapshot.layout
        table = pa.table({"clip_id": ["z", "b"], "video": ["z", "b"], "start_s": [0.0, 0], "end_s": [1.0, 1]})
        empty = np.zeros((2, layout.total), np.float32), np.zeros((2, 4), bool)
        writer.put(Entries(table, *empty))
    assert output(capsys, "list", told.index, "--without-stream") == "b\nz\n"
    assert (
        output(capsys, "list", told.index, "--without-stream", "--json") == '{"clip_id": "b"}\n{"clip_id": "z"}\n'
    )
    assert "2 clips, that nothing finds" in output(capsys, "list", told.index)
    assert "10 clips that can be found" in output(capsys, "list", told.index)
