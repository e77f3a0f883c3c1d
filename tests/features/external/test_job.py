"""Streams made elsewhere, taken into a store."""

import itertools
import json

import numpy as np
import pytest

from features.errors import InputError
from features.external.config import ImportConfig
from features.external.formats import sha256_of
from features.external.ids import ListedClip
from features.external.job import ImportJob, StoreClips
from features.store.feature_store import FeatureStore
from features.store.layout import MISSING, PRESENT
from features.store.manifest import Manifest

ROWS = np.arange(12, dtype=np.float16).reshape(2, 2, 3) + 1


@pytest.fixture
def run(tmp_path):
    """run(a={clip: array, ...}, ids=[...], name=...): import folders of .npy; the report, and the store opened."""

    numbers = itertools.count()

    def go(ids=None, name=(), store="store", **rest):
        settings = {key: rest.pop(key) for key in list(rest) if key.endswith("_missing") or key == "overwrite"}
        files = {}
        for stream, content in rest.items():
            files[stream] = tmp_path / f"{stream}-{next(numbers)}"
            for clip_id, array in content.items():
                place = files[stream] / f"{clip_id}.npy"
                place.parent.mkdir(parents=True, exist_ok=True)
                np.save(place, np.ones(0) if array is None else array)
        if ids is not None:
            (tmp_path / "ids.txt").write_text("\n".join(ids))
        names = (name,) if isinstance(name, str) else tuple(name)
        config = ImportConfig(ids=None if ids is None else tmp_path / "ids.txt", name=names, **settings)
        report = ImportJob(tmp_path / store, files, config, lambda *_: None).run()
        return report, FeatureStore(tmp_path / store)

    return go


def states(store, stream):
    return store.rows[stream].dropna().to_dict()


def test_what_is_imported_is_read_as_if_it_had_been_extracted(run):
    report, store = run(sight={"a": ROWS[0], "b": ROWS[1][0]}, sound={"a": np.ones((4, 2))})
    np.testing.assert_array_equal(store.read("sight", ["b", "a"])[0], ROWS[1][:1])
    np.testing.assert_array_equal(store.read("sight", ["a"])[0], ROWS[0])
    assert store.read("sound", ["b"]) == [None]
    assert store.dims == {"sight": 3, "sound": 2}
    assert store.coverage() == {"sight": 2, "sound": 1}
    assert store.clips.loc["a", ["video", "start_s", "end_s", "verdict", "reader"]].tolist() == [
        "a",
        0,
        0,
        "ok",
        "import",
    ]
    assert (report.clips, report.written) == (2, 2)
    assert store.failed == {}


def test_a_list_chooses_the_clips_and_what_a_file_lacks_is_missing(run):
    report, store = run(ids=["b", "z", "a"], sight={"a": ROWS[0], "b": ROWS[1], "c": ROWS[0]})
    assert states(store, "sight") == {"a": PRESENT, "b": PRESENT, "z": MISSING}
    assert report.unlisted == {"sight": ["c"]}


def test_without_a_list_it_is_the_clips_of_any_file(run):
    _, store = run(sight={"a": ROWS[0], "b": None}, sound={"b": np.ones(2), "c": np.ones((0, 2)), "a": np.ones(2)})
    assert states(store, "sight") == {"a": PRESENT, "b": MISSING, "c": MISSING}
    assert states(store, "sound") == {"a": PRESENT, "b": PRESENT, "c": MISSING}


def test_nan_and_zeros_are_missing_only_when_it_is_said(run):
    sight = {"a": ROWS[0], "nan": np.full(3, np.nan), "zero": np.zeros(3)}
    with pytest.raises(InputError, match=r"'nan' holds a row of NaN.*--nan-is-missing"):
        run(sight=sight)
    report, store = run(sight=sight, nan_is_missing=True)
    assert states(store, "sight") == {"a": PRESENT, "nan": MISSING, "zero": PRESENT}
    assert report.zeros == {"sight": ["zero"]}
    report, store = run(sight=sight, nan_is_missing=True, zero_is_missing=True, overwrite=True)
    assert states(store, "sight") == {"a": PRESENT, "nan": MISSING, "zero": MISSING}
    assert report.zeros == {}


def test_importing_again_writes_nothing(run, tmp_path):
    run(sight={"a": ROWS[0], "b": None})
    before = sorted((tmp_path / "store" / "parts").iterdir())
    report, _ = run(sight={"a": ROWS[0], "b": None})
    assert report.written == 0
    assert sorted((tmp_path / "store" / "parts").iterdir()) == before


def test_under_a_name_clips_can_be_added_and_found_later(run):
    run(sight={"a": ROWS[0]}, sound={"a": np.ones(2), "b": np.ones(2)}, name=["sight=s", "sound=w"])
    report, store = run(sight={"a": ROWS[1], "b": ROWS[1], "c": ROWS[0]}, name="s")
    np.testing.assert_array_equal(store.read("sight", ["a"])[0], ROWS[0])  # it had that one already
    np.testing.assert_array_equal(store.read("sight", ["b"])[0], ROWS[1])  # was missing, is there now
    assert report.written == 2
    assert list(store.clips.index) == ["a", "b"]  # nothing is known of the sound of c
    assert "c" in store.failed


def test_a_stream_added_later_is_as_if_it_had_come_with_the_others(run):
    both = run(store="both", sight={"a": ROWS[0], "b": ROWS[1]}, sound={"a": np.ones(2)})[1]
    run(sight={"a": ROWS[0], "b": ROWS[1]})
    report, store = run(sound={"a": np.ones(2)})
    assert report.not_in_file == {"sound": 1}
    columns = ["video", "clips_of_video", "sight", "sound"]
    assert store.clips[columns].equals(both.clips[columns])


def test_fingerprints(run):
    def digest(store, **rest):
        return run(store=store, **rest)[1].fingerprints["sight"]

    content = digest("1", sight={"a": ROWS[0]})
    assert digest("2", sight={"a": ROWS[0]}) == content
    assert digest("3", sight={"a": ROWS[1]}) != content
    named = digest("4", sight={"a": ROWS[0]}, name="resnet")
    assert named != content
    assert digest("5", sight={"b": ROWS[1]}, name="sight=resnet") == named
    assert digest("6", sight={"b": ROWS[1]}, name="vgg") != named
    assert digest("7", sight={"b": ROWS[1][:, :2]}, name="resnet") != named


def test_a_store_never_mixes_two(run, store_job):
    run(sight={"a": ROWS[0]})
    with pytest.raises(InputError, match=r"'sight' came, without --name, from a file of other content"):
        run(sight={"b": ROWS[0]})
    run(sight={"a": ROWS[0]}, name="resnet", overwrite=True)
    for name in ("vgg", ()):
        with pytest.raises(InputError, match=r"'sight' was imported as 'resnet'.*--name sight=resnet"):
            run(sight={"b": ROWS[0]}, name=name)
    with pytest.raises(InputError, match=r"'resnet' \(size 3, now 2\).*--overwrite"):
        run(sight={"b": ROWS[0][:, :2]}, name="resnet")
    assert len(run(sight={"b": ROWS[0]}, name="resnet")[1].rows) == 2
    store_job.write(store_job.record("a.mp4", smell=ROWS[0]), smell=3)
    with pytest.raises(InputError, match="'smell' was made by another extractor"):
        run(smell={"a": ROWS[0]})


def test_overwriting_begins_anew_and_forgets_clips_that_only_it_had(run):
    run(sight={"wrong/a": ROWS[0]})
    _, store = run(sight={"a": ROWS[0]}, overwrite=True)
    assert list(store.rows.index) == ["a"]
    run(sound={"a": np.ones(2)})
    _, store = run(sight={"a": ROWS[1]}, overwrite=True)
    np.testing.assert_array_equal(store.read("sight", ["a"])[0], ROWS[1])
    assert store.coverage() == {"sight": 1, "sound": 1}


def test_streams_join_clips_that_were_extracted(run, store_job):
    """They keep the times, verdict and file size of the extracted rows, and may be named without an ending."""
    r = store_job.record
    store_job.write(
        r("a.mp4", smell=ROWS[0], verdict="degraded", note="why"),
        r("d/b.mkv#t=0,10", "d/b.mkv", smell=ROWS[0], of=2),
        r("c.mp4", smell=ROWS[0]),
        r("c.avi", smell=ROWS[0]),
        r("bad.mp4", verdict="failed", note="broken"),
        smell=3,
        clip_seconds=10.0,
    )
    report, store = run(sight={"a": ROWS[1], "d/b.mkv#t=0,10": ROWS[0]})
    before = store.rows.loc["a.mp4"]
    assert before[["verdict", "note", "reader", "file_bytes"]].tolist() == ["degraded", "why", "pyav", 100]
    assert store.rows.loc["d/b.mkv#t=0,10", ["video", "clips_of_video"]].tolist() == ["d/b.mkv", 2]
    assert sorted(store.clips.index) == ["a.mp4", "c.avi", "c.mp4", "d/b.mkv#t=0,10"]
    assert report.not_in_file == {"sight": 2}
    assert store.coverage() == {"smell": 4, "sight": 2}
    assert set(store.failed) == {"bad.mp4"}
    assert Manifest.read(store.directory).clip_seconds == 10
    with pytest.raises(InputError, match=r"two streams of the clip 'a\.mp4'"):
        run(sound={"a": ROWS[1], "a.mp4": ROWS[0]})
    with pytest.raises(InputError, match=r"'a\.mp4' and 'a\.mp4' are one clip|'a' and 'a\.mp4' are one clip"):
        run(sound={"a": ROWS[1]}, ids=["a.mp4", "a"])


def test_a_new_clip_of_an_extracted_video_harms_none_of_the_others(store_job):
    store_job.write(store_job.record("a#t=0,10", "a", smell=ROWS[0], of=1), smell=3)
    known = StoreClips(FeatureStore(store_job.directory).rows, ["smell"])
    record = known.record(ListedClip("a#t=10,20", "a", 10, 20), 1, {"smell": ROWS[1]})
    store_job.write(record, smell=3)
    assert len(FeatureStore(store_job.directory).clips) == 2


def test_clips_of_one_video(run, tmp_path):
    (tmp_path / "clips.csv").write_text("clip_id,video,start_s,end_s\na1,a.mp4,0,5\na2,a.mp4,5,9\n")
    np.save(tmp_path / "x.npy", ROWS)
    config = ImportConfig(ids=tmp_path / "clips.csv")
    ImportJob(tmp_path / "store", {"sight": tmp_path / "x.npy"}, config, lambda *_: None).run()
    clips = FeatureStore(tmp_path / "store").clips
    assert clips[["video", "start_s", "end_s", "clips_of_video"]].to_numpy().tolist() == [
        ["a.mp4", 0, 5, 2],
        ["a.mp4", 5, 9, 2],
    ]


@pytest.mark.parametrize(
    ("content", "ids", "says"),
    [
        ({"sight": {"a": np.ones(3), "b": np.ones(2)}}, None, "'b' has rows of 2 numbers, '?a'? of 3"),
        ({"sight": {"a": np.ones((1, 2, 3)), "b": np.ones(3)}}, None, r"'a' has shape \(1, 2, 3\)"),
        ({"sight": {"a": None, "b": []}}, None, "has nothing of any of 2 clips"),
        (
            {"sight": {"a": np.ones(3), "b": np.ones(3)}},
            ["x", "y"],
            r"\(sight\) has no clip in common with the list",
        ),
        (
            {"sight": {"a": np.ones(3), "b": np.ones(3)}, "sound": {"a.wav": np.ones(3), "b.wav": np.ones(3)}},
            None,
            r"has no clip in common with the other files or the store: it says 'a', they say 'a\.wav'",
        ),
        ({"parts": {"a": np.ones(3), "b": np.ones(3)}}, None, "no stream may be called 'parts'"),
        ({"imports": {"a": np.ones(3), "b": np.ones(3)}}, None, "no stream may be called 'imports'"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(run, tmp_path, content, ids, says):
    with pytest.raises(InputError, match=says):
        run(ids=ids, **content)
    assert not (tmp_path / "store").exists()


def test_a_stream_of_a_store_with_clips_of_other_names(run):
    run(sight={"a": ROWS[0]})
    with pytest.raises(InputError, match=r"or the store: it says 'a\.wav', they say 'a'"):
        run(sound={"a.wav": np.ones(2), "b.wav": np.ones(2)})


def test_another_folder_is_left_alone(run, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is not a feature store"):
        run(sight={"a": ROWS[0], "b": ROWS[0]})


def test_the_store_tells_where_its_streams_came_from(run, tmp_path):
    _, store = run(sight={"a": ROWS[0], "b": ROWS[0]}, name="resnet")
    (told,) = [json.loads(path.read_text()) for path in (tmp_path / "store" / "imports").iterdir()]
    source = tmp_path / "sight-0"
    assert told["streams"]["sight"] == {
        "file": str(source),
        "sha256": sha256_of(source),
        "layout": "keyed, the first (2, 3) float16",
        "version": store.manifest.streams["sight"].versions[0],
    }
    assert told["nan_is_missing"] is False


def test_digests(tmp_path):
    """Of a file as other programs give it; of a folder by names and contents of its clips."""
    (tmp_path / "x").write_text("abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    seen = set()
    for name, content in (("a", 1), ("b", 1), ("b", 2)):
        folder = tmp_path / f"{name}{content}"
        folder.mkdir()
        np.save(folder / f"{name}.npy", np.full(3, content))
        (folder / "README").write_text(str(len(seen)))
        seen.add(sha256_of(folder))
    assert len(seen) == 3


def test_what_was_imported_stays_when_its_file_is_extracted_later(run, store_job):
    """An import knows no file, so the size of a file cannot speak against it."""
    run(sight={"a.mp4": ROWS[0], "b.mp4": ROWS[1]}, name="eye")
    store_job.write(store_job.record("a.mp4", smell=ROWS[0]), smell=3)
    store = FeatureStore(store_job.directory)
    assert store.coverage() == {"sight": 1, "smell": 1}
    assert list(store.clips.index) == ["a.mp4"]  # of b.mp4, smell is still to be extracted
    assert "mee import what is missing" in store.failed["b.mp4"]
