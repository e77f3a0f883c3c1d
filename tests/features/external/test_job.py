"""Streams made elsewhere, imported into a store."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from features.errors import InputError
from features.external.arrays import sha256_of
from features.external.config import ImportConfig
from features.external.job import ImportJob
from features.store.export import export_stream
from features.store.feature_store import FeatureStore
from features.store.layout import MISSING, PRESENT
from features.store.merge import merge_stores
from mee.data import meet
from tests.features.small_stores import files

ROWS = np.arange(12, dtype=np.float16).reshape(2, 2, 3) + 1


def run_import(directory, sources, **settings):
    report = ImportJob(directory, sources, ImportConfig(**settings), lambda *_: None, meet).run()
    return report, FeatureStore(directory)


@pytest.fixture
def run(tmp_path):
    """run(a={clip: array, ...}, ids=[...], name=...): import folders of .npy; the report, and the store opened."""
    numbers = itertools.count()

    def go(ids=None, name=(), store="store", **rest):
        settings = {key: rest.pop(key) for key in list(rest) if key.endswith("_missing") or key == "overwrite"}
        sources = {stream: tmp_path / f"{stream}-{next(numbers)}" for stream in rest}
        for stream, content in rest.items():
            for clip_id, array in content.items():
                place = sources[stream] / f"{clip_id}.npy"
                place.parent.mkdir(parents=True, exist_ok=True)
                np.save(place, np.ones(0) if array is None else array)
        if ids is not None:
            settings["ids"] = tmp_path / "ids.txt"
            settings["ids"].write_text("\n".join(ids))
        names = (name,) if isinstance(name, str) else tuple(name)
        return run_import(tmp_path / store, sources, name=names, **settings)

    return go


def states(store, stream):
    return store.rows[stream].dropna().to_dict()


def test_what_is_imported_is_read_as_if_it_had_been_extracted(run):
    report, store = run(sight={"a": ROWS[0], "b": ROWS[1][0]}, sound={"a": np.ones((4, 2))})
    for clip_id, rows in {"a": ROWS[0], "b": ROWS[1][:1]}.items():
        np.testing.assert_array_equal(store.read("sight", [clip_id])[0], rows)
    assert store.read("sound", ["b"]) == [None]
    assert (store.dims, store.coverage()) == ({"sight": 3, "sound": 2}, {"sight": 2, "sound": 1})
    columns = ["video", "start_s", "end_s", "verdict", "reader"]
    assert store.clips.loc["a", columns].tolist() == ["a", 0, 0, "ok", "import"]
    assert (report.clips, report.written, store.failed) == (2, 2, {})


@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", ">f8", "i4", "u1"]),
        hnp.array_shapes(min_dims=1, max_dims=2, max_side=4),
        elements=st.integers(0, 100),
    )
)
def test_what_float16_holds_is_stored_unchanged(tmp_path_factory, array):
    place = tmp_path_factory.mktemp("import")
    np.savez(place / "x.npz", a=array, b=np.ones(array.shape[-1]))
    for number, settings in enumerate(({}, {"nan_is_missing": True}, {"zero_is_missing": True})):
        _, store = run_import(place / f"{number}", {"s": place / "x.npz"}, **settings)
        (rows,) = store.read("s", ["a"])
        if settings.get("zero_is_missing") and not array.any():
            assert rows is None
        else:
            assert (rows.dtype, rows.flags.c_contiguous) == (np.float16, True)
            wanted = np.atleast_2d(array)
            if "zero_is_missing" in settings:  # the last rows of zeros are padding
                wanted = wanted[: np.flatnonzero(wanted.any(axis=1))[-1] + 1]
            np.testing.assert_array_equal(rows, wanted)


def test_a_list_selects_the_clips_and_without_it_they_are_those_of_any_file(run):
    report, store = run(ids=["b", "z", "a"], sight={"a": ROWS[0], "b": ROWS[1], "c": ROWS[0]})
    assert states(store, "sight") == {"a": PRESENT, "b": PRESENT, "z": MISSING}  # the file has no z
    assert report.unlisted == {"sight": ["c"]}
    sound = {"b": np.ones(2), "c": np.ones((0, 2)), "a": np.ones(2)}
    _, store = run(store="other", sight={"a": ROWS[0], "b": None}, sound=sound)
    assert states(store, "sight") == {"a": PRESENT, "b": MISSING, "c": MISSING}
    assert states(store, "sound") == {"a": PRESENT, "b": PRESENT, "c": MISSING}


def test_columns_are_named_by_a_list_or_by_the_file(tmp_path, says_all):
    """An export keeps the names, and what it wrote is imported with them."""
    np.savez(tmp_path / "x.npz", rows=ROWS[0], ids=["a", "b"])
    text = tmp_path / "names.txt"
    sources, names = {"s": tmp_path / "x.npz"}, ("", "crane", "crane")
    for columns, before in ((f"s={text}", "\n"), (str(text), "")):  # a line for each column, or for the last ones
        text.write_bytes(f"\ufeff{before}crane \r\ncrane\n\n".encode())
        _, store = run_import(tmp_path / "store", sources, name=("n",), columns=(columns,))
        assert store.columns == {"s": names}
    export_stream(store, tmp_path / "out.npz", ["s"], lambda *_: None)
    merge_stores(tmp_path / "all", [tmp_path / "store"], lambda *_: None)
    again = {"s": tmp_path / "out.npz"}
    for place in ("back", "all"):  # the names are part of what made the stream
        assert run_import(tmp_path / place, again, name=("n",))[1].columns == {"s": names}
    with pytest.raises(InputError, match="never mixes two"):
        run_import(tmp_path / "store", sources, name=("n",))

    def spoiled(content):
        text.unlink(missing_ok=True)
        if content is not None:
            text.write_bytes(content)
        run_import(tmp_path / "new", sources, columns=(str(text),))

    lists = [b"", b"a\nb\nc\nd\n", b"a\n\nc\n", b"b\n\x1b[2J\n", b"b\n\xff\n", b"c" * 201]
    says_all(spoiled, [None, *lists])
    np.savez(tmp_path / "x.npz", rows=ROWS[0], ids=["a", "b"], columns=np.ones(3))
    with pytest.raises(InputError, match=r"'columns' is \(3,\) float64, not a list of names"):
        run_import(tmp_path / "new", sources)


def test_nan_and_zeros_are_missing_only_on_request(run):
    nan, zero, ones = np.full((2, 3), np.nan), np.zeros((2, 3)), np.ones((2, 3))
    sight = {"a": ROWS[0], "nan": nan[0], "zero": zero, "part": np.vstack([ones, nan]), "zeros": ROWS[0]}
    sight |= {"both": np.vstack([zero, nan]), "some": [[0, 0, 0], [0, 1, 0]], "nothing": np.ones((0, 4))}
    for clip_id in ("nan", "part", "both"):
        with pytest.raises(InputError, match=f"'{clip_id}' .*--nan-is-missing"):
            run(sight={"a": ROWS[0], clip_id: sight[clip_id]})
    rules, nans = {"nan_is_missing": True}, {"nan", "nothing"}
    report, store = run(sight=sight, **rules)
    assert {name for name, state in states(store, "sight").items() if state == MISSING} == nans
    np.testing.assert_array_equal(store.read("sight", ["part"])[0], ones)
    assert (report.zeros, report.padded) == ({"sight": ["both", "zero"]}, {})
    report, store = run(sight=sight, zero_is_missing=True, overwrite=True, **rules)
    assert {name for name, state in states(store, "sight").items() if state == MISSING} == {*nans, "zero", "both"}
    assert report.zeros == {}
    for rule in ("nan_is_missing", "zero_is_missing"):  # neither hides damage
        for rows in ([[1, np.nan]], [[np.inf, 1]], [[0, np.nan]]):
            with pytest.raises(InputError, match="'a'"):
                run(store="damaged", sight={"a": rows, "b": [1, 2]}, **{rule: True})


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 1, 3), (2, 3, 1, 1), (1, 2, 1, 3)])
def test_axes_of_length_one_are_left_out(run, shape):
    wide = ROWS[0].reshape(shape)
    single = ROWS[0, :1].reshape([3 if size == 3 else 1 for size in shape])  # one row, with the same axes
    _, store = run(sight={"a": wide, "b": single, "c": ROWS[0]})
    assert [rows.tolist() for rows in store.read("sight", ["a", "b"])] == [ROWS[0].tolist(), ROWS[0, :1].tolist()]


@given(
    rows=hnp.arrays("f4", (4, 2), elements=st.sampled_from([0.0, -0.0, 1.0])),
    zeros=st.integers(0, 3),
    nans=st.booleans(),
)
def test_rows_of_zeros_are_padding_at_the_end_alone_and_on_request(tmp_path_factory, rows, zeros, nans):
    """With the flag a stream is what it was before it was padded with zeros; inside it, zeros stay."""
    place = tmp_path_factory.mktemp("padded")
    rows[-1, 0] = 1.0
    padded = np.vstack([rows, np.zeros((zeros, 2))])
    padded = np.vstack([padded, np.full((1, 2), np.nan)]) if nans else padded
    np.savez(place / "x.npz", a=padded, b=np.ones(2))
    for flag, expected in ((True, rows), (False, np.vstack([rows, np.zeros((zeros, 2))]))):
        settings = {"zero_is_missing": flag, "nan_is_missing": nans}
        report, store = run_import(place / str(flag), {"s": place / "x.npz"}, **settings)
        np.testing.assert_array_equal(store.read("s", ["a"])[0], expected)
        assert report.padded == ({"s": ["a"]} if zeros and not flag else {})


def test_what_is_too_small_for_float16_is_reported(run):
    rows = {"fits": ROWS[0], "subnormal": ROWS[0] * np.float64(1e-6), "zeros": ROWS[0] * 0}
    rows |= {"half": [1.0, 1e-9, 1e-9], "third": [1.0, 1.0, 1e-9], "doubles": [1e-4, 2e-4, 5e-4]}
    assert run(sight=rows)[0].small == {"sight": ["half", "subnormal"]}


def test_under_a_name_clips_can_be_added_and_overwriting_drops_clips_of_the_old_version(run):
    run(sight={"a": ROWS[0]}, sound={"a": np.ones(2), "b": np.ones(2)}, name=["sight=s", "sound=w"])
    report, store = run(sight={"a": ROWS[1], "b": ROWS[1], "c": ROWS[0]}, name="s")
    np.testing.assert_array_equal(store.read("sight", ["a"])[0], ROWS[0])  # it had that one already
    np.testing.assert_array_equal(store.read("sight", ["b"])[0], ROWS[1])  # was missing, is present now
    assert report.written == 2
    assert list(store.clips.index) == ["a", "b"]  # nothing is known of the sound of c
    assert "c" in store.failed
    _, store = run(sight={"a": ROWS[1]}, name="s", overwrite=True)
    np.testing.assert_array_equal(store.read("sight", ["a"])[0], ROWS[1])
    assert (list(store.rows.index), store.coverage()) == (["a", "b"], {"sight": 1, "sound": 2})
    run(store="other", sight={"wrong/a": ROWS[0]})
    assert list(run(store="other", sight={"a": ROWS[0]}, overwrite=True)[1].rows.index) == ["a"]


def test_a_stream_added_later_is_as_if_it_had_come_with_the_others_and_again_writes_nothing(run):
    sight = {"a": ROWS[0], "b": ROWS[1], "c": None}
    both = run(store="both", sight=sight, sound={"a": np.ones(2)})[1]
    run(sight=sight)
    before = files(both.directory.parent / "store", "parts/*")
    assert run(sight=sight)[0].written == 0
    assert files(both.directory.parent / "store", "parts/*") == before
    report, store = run(sound={"a": np.ones(2)})
    assert report.not_in_file == {"sound": 2}
    columns = ["video", "clips_of_video", "sight", "sound"]
    assert store.clips[columns].equals(both.clips[columns])


def test_a_fingerprint_is_of_the_name_and_size_or_of_the_content(run):
    numbers = itertools.count()

    def digest(name=(), **rest):
        return run(store=f"{next(numbers)}", name=name, sight=rest)[1].fingerprints["sight"]

    content, named = digest(a=ROWS[0]), digest("resnet", a=ROWS[0])
    assert digest(a=ROWS[0]) == content
    assert digest("sight=resnet", b=ROWS[1]) == named
    others = [digest(a=ROWS[1]), digest("vgg", b=ROWS[1]), digest("resnet", b=ROWS[1][:, :2])]
    assert len({content, named, *others}) == 5


def test_a_store_never_mixes_two(run, store_job):
    run(sight={"a": ROWS[0]})
    with pytest.raises(InputError, match=r"'sight' .*without --name"):
        run(sight={"b": ROWS[0]})
    run(sight={"a": ROWS[0]}, name="resnet", overwrite=True)
    for name in ("vgg", ()):
        with pytest.raises(InputError, match=r"'sight' .*'resnet'.*--name sight=resnet"):
            run(sight={"b": ROWS[0]}, name=name)
    with pytest.raises(InputError, match=r"'resnet' \(size 3, now 2\).*--overwrite"):
        run(sight={"b": ROWS[0][:, :2]}, name="resnet")
    assert len(run(sight={"b": ROWS[0]}, name="resnet")[1].rows) == 2
    store_job.write(store_job.record("a.mp4", smell=ROWS[0]), smell=3)
    with pytest.raises(InputError, match="'smell' was made by another extractor"):
        run(smell={"a": ROWS[0]})


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
    kept = store.rows.loc["a.mp4", ["verdict", "note", "reader", "file_bytes"]]
    assert kept.tolist() == ["degraded", "why", "pyav", 100]
    assert store.rows.loc["d/b.mkv#t=0,10", ["video", "clips_of_video"]].tolist() == ["d/b.mkv", 2]
    assert sorted(store.clips.index) == ["a.mp4", "c.avi", "c.mp4", "d/b.mkv#t=0,10"]
    assert (report.not_in_file, store.coverage()) == ({"sight": 2}, {"smell": 4, "sight": 2})
    assert (set(store.failed), store.manifest.clip_seconds) == ({"bad.mp4"}, 10)
    for twice in ({"sound": {"a": ROWS[1], "a.mp4": ROWS[0]}}, {"sound": {"a": ROWS[1]}, "ids": ["a.mp4", "a"]}):
        with pytest.raises(ValueError, match=r"'a\.mp4'"):
            run(**twice)


def test_ids_meet_the_clips_of_the_store_the_list_and_other_files(run, store_job, tmp_path):
    r = store_job.record
    store_job.write(r("a.mp4", smell=ROWS[0]), r("d/b.mkv#t=0,10", "d/b.mkv", smell=ROWS[0]), smell=3)
    report, store = run(sight={"x/a": ROWS[1], "B#t=0.0,10.0": ROWS[0], "new": ROWS[0]})
    assert sorted(store.clips.index) == ["a.mp4", "d/b.mkv#t=0,10"]
    assert sorted(store.rows.index) == ["a.mp4", "d/b.mkv#t=0,10", "new"]
    assert [*report.respelled.values()] == [{"x/a": "a.mp4", "B#t=0.0,10.0": "d/b.mkv#t=0,10"}]
    _, store = run(store="other", sight={"a": ROWS[1], "b": ROWS[0]}, sound={"a.wav": ROWS[0], "7.0": ROWS[1]})
    assert sorted(store.rows.index) == ["7.0", "a", "b"]
    _, store = run(store="listed", ids=["v_a", "7"], sound={"a.wav": ROWS[0], "7.0": ROWS[1]})
    assert sorted(store.clips.index) == ["7", "v_a"]


def test_clips_of_one_video_and_a_new_one_of_an_extracted_video(store_job, tmp_path):
    store_job.write(store_job.record("a0", "a.mp4", sight=ROWS[0], of=1), sight=3)
    (tmp_path / "clips.csv").write_text("clip_id,video,start_s,end_s\na1,a.mp4,0,5\nb1,b.mp4,0,5\nb2,b.mp4,5,9\n")
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    config = {"ids": tmp_path / "clips.csv", "name": ("x",)}
    _, store = run_import(store_job.directory, {"smell": tmp_path / "x.npy"}, **config)
    columns, new = ["video", "start_s", "end_s", "clips_of_video", "file_bytes"], ["a1", "b1", "b2"]
    rows = [["a.mp4", 0, 5, 1, 100], ["b.mp4", 0, 5, 2, 0], ["b.mp4", 5, 9, 2, 0]]
    assert store.rows.loc[new, columns].to_numpy().tolist() == rows
    assert states(store, "sight") == {"a0": PRESENT}  # the file's size is the same: its row still counts


ONE, TWO = np.ones(3), {"a": np.ones(3), "b": np.ones(3)}
WRONG_ROWS = {"no axis": np.array(1.0), "NaN": [[1, np.nan]], "infinity": [[1, np.inf]], "large": [[1, 70000.0]]}
WRONG_ROWS |= {"infinity and NaN": [[1, -np.inf], [np.nan, np.nan]], "very large": [[1, -1e30]], "text": [["a"]]}
WRONG_ROWS |= {"large integers": [[2**40]], "small": [[1e-9, -1e-9]], "complex": [[1j]], "bool": [[True]]}
WRONG_ROWS |= {"objects": [[None]], "a lone NaN": np.array(np.nan)}
WRONG = {
    **{what: ({"sight": {"a": rows}}, ["a"]) for what, rows in WRONG_ROWS.items()},
    "sizes": ({"sight": {"a": ONE, "b": np.ones(2)}}, None),
    "three axes": ({"sight": {"a": np.ones((2, 2, 3)), "b": ONE}}, None),
    "rows without numbers": ({"sight": {"a": np.ones((3, 0)), "b": ONE}}, None),
    "nothing": ({"sight": {"a": None, "b": []}}, None),
    "other ids than the list's": ({"sight": TWO}, ["x", "y"]),
    "other ids than another file's": ({"sight": TWO, "sound": {"c": ONE, "d": ONE}}, None),
    "a folder's name": ({"parts": TWO}, None),
    "another folder's name": ({"imports": TWO}, None),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_refused_leaves_nothing_behind(run, tmp_path, says, what):
    content, ids = WRONG[what]
    with pytest.raises(InputError) as error:
        run(ids=ids, **content)
    says(error.value)
    assert not (tmp_path / "store").exists()


def test_a_store_with_clips_of_other_names_and_a_folder_that_is_not_a_store(run, tmp_path):
    run(sight={"a": ROWS[0]})
    with pytest.raises(InputError, match=r"the store: it has 'c\.wav', they have 'a'"):
        run(sound={"c.wav": np.ones(2), "d.wav": np.ones(2)})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is not a feature store"):
        run(store="other", sight={"a": ROWS[0], "b": ROWS[0]})


def test_the_store_lists_where_its_streams_came_from(run, tmp_path):
    _, store = run(sight={"a": ROWS[0], "b": ROWS[0]}, name="resnet")
    (path,) = (tmp_path / "store" / "imports").iterdir()
    note = json.loads(path.read_text())
    assert note["streams"]["sight"] == {
        "file": str(tmp_path / "sight-0"),
        "sha256": sha256_of(tmp_path / "sight-0"),
        "layout": "keyed, the first (2, 3) float16",
        "version": store.manifest.streams["sight"].versions[0],
    }
    assert note["nan_is_missing"] is False


def test_what_was_imported_stays_when_its_file_is_extracted_later(run, store_job):
    """An import has no file, so the size of a file does not contradict it."""
    run(sight={"a.mp4": ROWS[0], "b.mp4": ROWS[1]}, name="eye")
    store_job.write(store_job.record("a.mp4", smell=ROWS[0]), smell=3)
    store = FeatureStore(store_job.directory)
    assert store.coverage() == {"sight": 1, "smell": 1}
    assert list(store.clips.index) == ["a.mp4"]  # of b.mp4, smell is still to be extracted
    assert "mee import what is missing" in store.failed["b.mp4"]
