"""`mee index`: metadata, kinds, recall, and clips with few streams or none."""

import shutil

import numpy as np
import pytest

from index.storage.snapshot import read_snapshot
from index.sync import rows_of
from scripts.build_index import main as build_index
from scripts.gallery import main as gallery
from scripts.import_features import main as import_features
from scripts.precompute import main as precompute
from scripts.train import main as train


def column(own, name):
    """The values of a column, in the order of the clips' ids."""
    values = rows_of(read_snapshot(own.index).segments).sort_index()[name]
    return values.astype(object).where(values.notna(), None).tolist()


def test_metadata_is_kept_until_it_is_given_again(grown, tmp_path, prints, replace_file):
    table = tmp_path / "videos.csv"
    table.write_text(
        "video_id,split,rating\n" + "".join(f"clip{n},{'test' if n > 7 else 'train'},{n}\n" for n in range(9))
    )
    prints(build_index, *grown.arguments, "--metadata", table)
    assert column(grown, "split") == ["train"] * 8 + ["test", None]
    assert column(grown, "rating") == [*range(9), None]
    shutil.copy(grown.videos / "clip9.png", grown.videos / "new.png")
    prints(precompute, grown.videos, grown.store, "--workers", "1")
    replace_file("clip0.mp4", "clip1.mp4")
    assert "11 clips in the index, 1 of them new, 1 encoded again" in prints(build_index, *grown.arguments).out
    assert column(grown, "split") == ["train"] * 8 + ["test", None, None]
    table.write_text("clip_id,split,mood\nnew.png,val,glad\nclip9.png,val,\nnobody,val,sad\n")
    out, err = prints(build_index, *grown.arguments, "--metadata", table)
    assert "11 clips in the index, 0 of them new, 2 encoded again" in out
    assert err == f"1 rows of {table} match no usable clip, such as 'nobody'\n"
    assert column(grown, "split") == ["train"] * 8 + ["test", "val", "val"]
    assert column(grown, "mood") == [None] * 10 + ["glad"]
    assert column(grown, "rating") == [*range(9), None, None]
    assert "0 of them new\n" in prints(build_index, *grown.arguments, "--metadata", table).out.replace(" \n", "\n")


def test_metadata_that_does_not_fit(grown, fails, tmp_path, prints):
    table = tmp_path / "m.csv"
    assert "no file of metadata" in fails(build_index, *grown.arguments, "--metadata", table)
    table.write_text("clip_id,width\nclip0.mp4,3\n")
    assert "a column 'width' of its own" in fails(build_index, *grown.arguments, "--metadata", table)
    table.write_text("clip_id,rating\nclip0.mp4,3\n")
    prints(build_index, *grown.arguments, "--metadata", table)
    table.write_text("clip_id,rating\nclip0.mp4,good\n")
    assert "'rating' of the metadata is text" in fails(build_index, *grown.arguments, "--metadata", table)
    assert column(grown, "rating")[0] == 3


def imported(place, world, streams, splits, *flags):
    """A store of imported streams, and a model of its first clips: what `mee index` takes."""
    store, model, names = str(place / "store"), str(place / "model"), list(streams["appearance"])
    for name, rows in streams.items():
        np.savez(place / f"{name}.npz", **rows)
        assert import_features([store, f"{name}={place / name}.npz", "--name", "mine"]) == 0
    rows = [f"{names[n]},number {n} {'up' if n % 3 else 'down'},{split}" for n, split in enumerate(splits)]
    (place / "captions.csv").write_text("\n".join(["video_id,caption,split", *rows]) + "\n")
    assert train([store, str(place / "captions.csv"), model, *world.tiny, *flags]) == 0
    return [store, model, str(place / "index")]


def test_recall_is_measured_and_recorded(world, tmp_path, prints):
    streams = np.random.default_rng(0).normal(size=(2500, 6)).astype(np.float32)
    appearance = {f"v{number:05d}": stream for number, stream in enumerate(streams)}
    arguments = imported(tmp_path, world, {"appearance": appearance}, ["train"] * 8 + ["val"] * 2 + ["test"] * 50)

    def build(*flags):
        out, snapshot = prints(build_index, *arguments, *flags).out, read_snapshot(tmp_path / "index")
        return out, {partition.scanner.kind for partition in snapshot.partitions}, snapshot.recall

    assert build()[1] == {"certified"}
    out, kinds, recall = build("--recall", "0.95")
    assert (kinds, recall.target) == ({"fastscan"}, 0.95)
    assert recall.reached >= 0.95
    assert "fastscan" in out
    assert f"recall@10 {recall.reached:.4f} (requested: 0.95), measured with 1,000 clips of the index" in out
    assert (
        "measured with 52 sentences of captions.csv on 2500 clips"
        in build("--queries", tmp_path / "captions.csv")[0]
    )
    out = build("--kind", "fastscan")[0]
    assert "measured with 1,000 clips of the index itself on 2500 clips: 100 candidates" in out
    out = build("--kind", "auto")[0]
    assert "certified" in out
    assert "recall" not in out


def test_an_exact_index_has_no_recall(grown, fails, prints):
    out, err = prints(build_index, *grown.arguments, "--recall", "0.9", "--queries", grown.captions)
    assert "flat" in out
    assert "recall@10" not in out
    assert err == "this index is exact, so there is no recall to measure\n"
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
def test_queries_that_cannot_be_used(own, fails, tmp_path, name, content, says):
    path, new = tmp_path / name, tmp_path / "new"
    if content is not None:
        path.write_bytes(content)
    assert says in fails(build_index, own.store, own.model, new, "--queries", path)
    assert not new.exists()


@pytest.fixture
def odd(tmp_path, world):
    """A store of imported clips, of which `c7` to `c9` have no sound, and a model of sound only."""
    generator = np.random.default_rng(0)
    looks = {f"c{number}": generator.normal(size=(2, 4)).astype(np.float32) for number in range(10)}
    streams = {"appearance": looks, "audio": {f"c{number}": looks[f"c{number}"][:, :3] for number in range(7)}}
    splits = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    return tmp_path, imported(tmp_path, world, streams, splits, "--streams", "audio")


def stream_of_ones(path, size):
    np.savez(path, **{f"c{number}": np.ones((1, size), np.float32) for number in range(10)})
    return path


@pytest.fixture
def listed(odd, json_lines):
    return lambda *more: json_lines(gallery, "list", odd[1][2], *more)


GIVEN = ("--neighbours", "1", "--alpha", "0.75")


def test_clips_without_a_stream_are_listed_never_found_and_need_no_offset(odd, listed, prints):
    place, arguments = odd
    out, err = prints(build_index, *arguments)
    assert out.startswith("7 clips in the index, 7 of them new")
    assert err == "3 clips have no stream and cannot be found, such as 'c7'\n"
    assert [row["clip_id"] for row in listed("--without-stream")] == ["c7", "c8", "c9"]
    assert [row["streams"] for row in listed("--clips")] == [["audio"]] * 7 + [[]] * 3
    assert "0 of them new" in prints(build_index, *arguments).out
    (place / "bank.txt").write_text("number 3 moves\n")
    prints(gallery, "normalise", place / "index", "--bank", place / "bank.txt", *GIVEN)
    assert [row["offset"] is None for row in listed("--clips")] == [False] * 7 + [True] * 3
    prints(build_index, *arguments)


def test_a_stream_that_is_added_later(odd, listed, prints):
    place, arguments = odd
    prints(build_index, *arguments)
    audio = stream_of_ones(place / "audio.npz", 3)
    prints(import_features, arguments[0], f"audio={audio}", "--name", "mine", "--overwrite")
    out, err = prints(build_index, *arguments)
    assert out.startswith("10 clips in the index, 0 of them new, 10 encoded again")
    assert (err, listed("--without-stream")) == ("", [])


def test_a_stream_that_the_model_does_not_read_and_a_moved_model_change_nothing(odd, prints):
    place, arguments = odd
    prints(build_index, *arguments)
    prints(import_features, arguments[0], f"appearance={place}/appearance.npz", "--name", "mine", "--overwrite")
    more = stream_of_ones(place / "more.npz", 2)
    prints(import_features, arguments[0], f"motion={more}", "--name", "mine")
    generation = read_snapshot(place / "index").generation
    assert "0 of them new\n" in prints(build_index, *arguments).out.replace(" \n", "\n")
    assert read_snapshot(place / "index").generation == generation
    shutil.move(place / "model", place / "moved")
    assert "0 of them new" in prints(build_index, arguments[0], place / "moved", arguments[2]).out


def test_a_store_without_usable_clips(world, tmp_path, prints):
    videos, arguments = tmp_path / "videos", [tmp_path / "store", world.model, tmp_path / "index"]
    videos.mkdir()
    (videos / "broken.mp4").touch()
    prints(precompute, videos, tmp_path / "store", "--workers", "1", code=3)
    for _ in range(2):
        out, err = prints(build_index, *arguments)
        assert out.startswith("0 clips in the index, 0 of them new")
        assert "1 videos are not in it because extraction failed, such as 'broken.mp4'" in err
    shutil.copy(world.videos / "clip0.mp4", videos)
    prints(precompute, videos, tmp_path / "store", "--workers", "1", code=3)
    assert "1 clips in the index, 1 of them new" in prints(build_index, *arguments, "--recall", "0.5").out
