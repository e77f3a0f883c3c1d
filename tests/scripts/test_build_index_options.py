"""`mee index`: metadata, kinds and recall."""

import shutil

import numpy as np
import pytest

from index.storage.snapshot import read_snapshot
from index.sync import rows_of
from scripts.build_index import main as build_index
from scripts.precompute import main as precompute
from scripts.store import main as store_command


@pytest.fixture
def grown(own):
    own.index = own.place / "grown"
    own.arguments = [str(own.store), str(own.model), str(own.index)]
    return own


def replace_file(grown, name, by):
    """As if a file had been replaced, and extracted again."""
    changed = grown.place / "changed"
    changed.mkdir()
    shutil.copy(grown.videos / by, changed / name)
    assert precompute([str(changed), str(grown.place / "later"), "--workers", "1"]) == 0
    assert store_command(["merge", str(grown.store), str(grown.place / "later")]) == 0


def rows(own):
    return rows_of(read_snapshot(own.index).segments).sort_index()


def values(column):
    return [
        None if value is None or value != value else value
        for value in column.astype(object).where(column.notna(), None)
    ]


# ---- metadata


def test_metadata_stays_until_it_is_given_anew(grown, world, tmp_path, capsys):
    table = tmp_path / "videos.csv"
    table.write_text(
        "video_id,split,rating\n" + "".join(f"clip{n},{'test' if n > 7 else 'train'},{n}\n" for n in range(9))
    )
    assert build_index([*grown.arguments, "--metadata", str(table)]) == 0
    assert values(rows(grown)["split"]) == ["train"] * 8 + ["test", None]
    assert values(rows(grown)["rating"]) == [*range(9), None]
    videos = tmp_path / "videos"
    shutil.copytree(world.videos, videos)
    shutil.copy(videos / "clip9.png", videos / "new.png")
    assert precompute([str(videos), str(grown.store), "--workers", "1"]) == 0
    replace_file(grown, "clip0.mp4", "clip1.mp4")
    capsys.readouterr()
    assert build_index(grown.arguments) == 0
    assert "11 clips in the index, 1 of them new, 1 embedded again" in capsys.readouterr().out
    assert values(rows(grown)["split"]) == ["train"] * 8 + ["test", None, None]
    table.write_text("clip_id,split,mood\nnew.png,val,glad\nclip9.png,val,\nnobody,val,sad\n")
    assert build_index([*grown.arguments, "--metadata", str(table)]) == 0
    out, err = capsys.readouterr()
    assert "11 clips in the index, 0 of them new, 2 embedded again" in out
    assert err == f"1 rows of {table} are about no usable clip, 'nobody' among them\n"
    assert values(rows(grown)["split"]) == ["train"] * 8 + ["test", "val", "val"]
    assert values(rows(grown)["mood"]) == [None] * 10 + ["glad"]
    assert values(rows(grown)["rating"]) == [*range(9), None, None]
    assert build_index([*grown.arguments, "--metadata", str(table)]) == 0
    assert "0 of them new\n" in capsys.readouterr().out.replace(" \n", "\n")


def test_metadata_that_does_not_fit(grown, fails, tmp_path):
    table = tmp_path / "m.csv"
    table.write_text("clip_id,width\nclip0.mp4,3\n")
    assert "a column 'width' of its own" in fails(build_index, *grown.arguments, "--metadata", table)
    table.write_text("clip_id,rating\nclip0.mp4,3\n")
    assert build_index([*grown.arguments, "--metadata", str(table)]) == 0
    table.write_text("clip_id,rating\nclip0.mp4,good\n")
    error = fails(build_index, *grown.arguments, "--metadata", table)
    assert "column 'rating' of the metadata is text, and in the index it is numbers" in error
    assert values(rows(grown)["rating"])[0] == 3
    assert "no file of metadata" in fails(build_index, *grown.arguments, "--metadata", tmp_path / "none.csv")


# ---- kinds and recall


@pytest.fixture
def many(tmp_path, world):
    """A store of some thousand clips of one stream, imported, and a model of it."""
    from scripts.import_features import main as import_features
    from scripts.train import main as train

    generator = np.random.default_rng(0)
    count = 2500
    names = [f"v{number:05d}" for number in range(count)]
    streams = generator.normal(size=(count, 6)).astype(np.float32)
    np.savez(tmp_path / "a.npz", **dict(zip(names, streams)))
    assert import_features([str(tmp_path / "store"), f"appearance={tmp_path / 'a.npz'}", "--name", "a"]) == 0
    captions = tmp_path / "captions.csv"
    captions.write_text(
        "video_id,caption,split\n"
        + "".join(
            f"{name},number {n} {'up' if n % 3 else 'down'},{'train' if n < 8 else 'val' if n < 10 else 'test'}\n"
            for n, name in enumerate(names[:60])
        )
    )
    assert train([str(tmp_path / "store"), str(captions), str(tmp_path / "model"), *world.tiny]) == 0
    return tmp_path


def test_recall_is_measured_and_recorded(many, capsys):
    arguments = [str(many / name) for name in ("store", "model", "index")]
    assert build_index(arguments) == 0
    assert {unit.scanner.kind for unit in read_snapshot(many / "index").units} == {"certified"}
    capsys.readouterr()
    assert build_index([*arguments, "--recall", "0.95"]) == 0
    snapshot = read_snapshot(many / "index")
    assert {unit.scanner.kind for unit in snapshot.units} == {"fastscan"}
    assert snapshot.recall.target == 0.95
    assert snapshot.recall.reached >= 0.95
    out = capsys.readouterr().out
    assert "fastscan" in out
    assert (
        f"recall@10 {snapshot.recall.reached:.4f} (asked for 0.95), measured with 1,000 clips of the index" in out
    )
    assert build_index([*arguments, "--queries", str(many / "captions.csv")]) == 0
    out = capsys.readouterr().out
    assert "measured with 52 sentences of captions.csv on 2500 clips" in out
    assert build_index([*arguments, "--kind", "fastscan"]) == 0
    assert "measured with 1,000 clips of the index itself on 2500 clips: 100 candidates" in capsys.readouterr().out
    assert build_index([*arguments, "--kind", "auto"]) == 0
    out = capsys.readouterr().out
    assert "certified" in out
    assert "recall" not in out


def test_recall_of_a_small_index_is_whole(grown, capsys):
    assert build_index([*grown.arguments, "--recall", "0.9", "--queries", str(grown.captions)]) == 0
    out, err = capsys.readouterr()
    assert "flat" in out
    assert "recall@10" not in out
    assert err == "every answer of this index is exact, so there is no recall to measure\n"


def test_recall_for_an_index_of_an_exact_kind(grown, fails):
    assert build_index([*grown.arguments, "--kind", "certified"]) == 0
    error = fails(build_index, *grown.arguments, "--recall", "0.9")
    assert error.startswith("'certified' is exact")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("q.txt", None, "q.txt"),
        ("q.csv", None, "no caption file at"),
        ("q.txt", b"\n  \n", "q.txt is an empty file of sentences"),
        ("q.txt", b"caf\xe9\n", "is not UTF-8 text"),
        ("q.csv", b"a,b\n1,2\n", "has no column 'video_id'"),
        ("q.csv", b"video_id,caption,split\na,b,train\n", "no captions of split 'val' or 'test'"),
    ],
)
def test_queries_that_are_none(grown, fails, tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert says in fails(build_index, *grown.arguments, "--queries", tmp_path / name)
    assert not grown.index.exists()
