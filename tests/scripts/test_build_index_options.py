"""`mee index`: metadata, kinds and recall."""

import shutil

import numpy as np
import pytest

from index.storage.snapshot import read_snapshot
from index.sync import rows_of
from scripts.build_index import main as build_index
from scripts.precompute import main as precompute


def rows(own):
    return rows_of(read_snapshot(own.index).segments).sort_index()


def values(column):
    return column.astype(object).where(column.notna(), None).tolist()


# ---- metadata


def test_metadata_stays_until_it_is_given_anew(grown, tmp_path, prints, replace_file):
    table = tmp_path / "videos.csv"
    table.write_text(
        "video_id,split,rating\n" + "".join(f"clip{n},{'test' if n > 7 else 'train'},{n}\n" for n in range(9))
    )
    prints(build_index, *grown.arguments, "--metadata", table)
    assert values(rows(grown)["split"]) == ["train"] * 8 + ["test", None]
    assert values(rows(grown)["rating"]) == [*range(9), None]
    shutil.copy(grown.videos / "clip9.png", grown.videos / "new.png")
    prints(precompute, grown.videos, grown.store, "--workers", "1")
    replace_file("clip0.mp4", "clip1.mp4")
    out, _ = prints(build_index, *grown.arguments)
    assert "11 clips in the index, 1 of them new, 1 embedded again" in out
    assert values(rows(grown)["split"]) == ["train"] * 8 + ["test", None, None]
    table.write_text("clip_id,split,mood\nnew.png,val,glad\nclip9.png,val,\nnobody,val,sad\n")
    out, err = prints(build_index, *grown.arguments, "--metadata", table)
    assert "11 clips in the index, 0 of them new, 2 embedded again" in out
    assert err == f"1 rows of {table} are about no usable clip, 'nobody' among them\n"
    assert values(rows(grown)["split"]) == ["train"] * 8 + ["test", "val", "val"]
    assert values(rows(grown)["mood"]) == [None] * 10 + ["glad"]
    assert values(rows(grown)["rating"]) == [*range(9), None, None]
    out, _ = prints(build_index, *grown.arguments, "--metadata", table)
    assert "0 of them new\n" in out.replace(" \n", "\n")


def test_metadata_that_does_not_fit(grown, fails, tmp_path, prints):
    table = tmp_path / "m.csv"
    table.write_text("clip_id,width\nclip0.mp4,3\n")
    assert "a column 'width' of its own" in fails(build_index, *grown.arguments, "--metadata", table)
    table.write_text("clip_id,rating\nclip0.mp4,3\n")
    prints(build_index, *grown.arguments, "--metadata", table)
    table.write_text("clip_id,rating\nclip0.mp4,good\n")
    assert "'rating' of the metadata is text" in fails(build_index, *grown.arguments, "--metadata", table)
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
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 50
    rows = [
        f"{name},number {number} {'up' if number % 3 else 'down'},{split}"
        for number, (name, split) in enumerate(zip(names, splits))
    ]
    captions.write_text("\n".join(["video_id,caption,split", *rows]) + "\n")
    assert train([str(tmp_path / "store"), str(captions), str(tmp_path / "model"), *world.tiny]) == 0
    return tmp_path


def test_recall_is_measured_and_recorded(many, prints):
    arguments = [many / name for name in ("store", "model", "index")]
    prints(build_index, *arguments)
    assert {unit.scanner.kind for unit in read_snapshot(many / "index").units} == {"certified"}
    out, _ = prints(build_index, *arguments, "--recall", "0.95")
    snapshot = read_snapshot(many / "index")
    assert {unit.scanner.kind for unit in snapshot.units} == {"fastscan"}
    assert snapshot.recall.target == 0.95
    assert snapshot.recall.reached >= 0.95
    assert "fastscan" in out
    reached = f"recall@10 {snapshot.recall.reached:.4f} (asked for 0.95)"
    assert f"{reached}, measured with 1,000 clips of the index" in out
    out, _ = prints(build_index, *arguments, "--queries", many / "captions.csv")
    assert "measured with 52 sentences of captions.csv on 2500 clips" in out
    out, _ = prints(build_index, *arguments, "--kind", "fastscan")
    assert "measured with 1,000 clips of the index itself on 2500 clips: 100 candidates" in out
    out, _ = prints(build_index, *arguments, "--kind", "auto")
    assert "certified" in out
    assert "recall" not in out


def test_recall_of_an_index_whose_answers_are_exact(grown, fails, prints):
    out, err = prints(build_index, *grown.arguments, "--recall", "0.9", "--queries", grown.captions)
    assert "flat" in out
    assert "recall@10" not in out
    assert err == "every answer of this index is exact, so there is no recall to measure\n"
    prints(build_index, *grown.arguments, "--overwrite", "--kind", "certified")
    assert fails(build_index, *grown.arguments, "--recall", "0.9").startswith("'certified' is exact")


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
def test_queries_that_are_none(own, fails, tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert says in fails(build_index, own.store, own.model, tmp_path / "new", "--queries", tmp_path / name)
    assert not (tmp_path / "new").exists()
