"""Streams of words: what is written is read, in any order of jobs, and a file from anyone is one sentence."""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.errors import InputError, MediaError
from features.extractors.base import LONGEST_LINE, MOST_TEXT, Stream, Words
from features.store.export import as_csv, as_vtt, export_stream, vtt_path, words_table
from features.store.feature_store import FeatureStore
from features.store.manifest import declare
from features.store.merge import merge_stores
from features.store.summary import summarise
from features.store.verify import check_store, repair
from features.store.writer import checked, clear_overwritten
from tests.features.small_stores import quiet, shard_of, wrong

SAID = {"a": [(0.0, 1.5, "a dog barks"), (1.0, 3.0, "über 漢字 🎈")], "b": [(0.5, 0.5, "-1 & <b>")], "c": None}


class Speaker:
    """What `checked` wants to know of an extractor."""

    dim = 0


def spoken(job, clip_id, said, video=None, **facts):
    made = checked("said", Speaker, Words.of(said or ()), clip_id)
    times = {} if made is None else {"said": made.times}
    return job.record(clip_id, video, said=made and made.rows, times=times, **facts)


@pytest.fixture
def spoken_store(store_job):
    """The stream `said` of SAID."""
    return store_job.write(*(spoken(store_job, *each) for each in SAID.items()), said=0)


UTTERANCES = st.tuples(st.floats(-5, 5, width=16), st.floats(0, 5, width=16), st.text(max_size=20))
TEXTS = st.dictionaries(st.sampled_from("abcdef"), st.lists(UTTERANCES, max_size=4))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS)
def test_what_is_said_is_read_in_order_of_time_without_what_cannot_be_printed(store_job, tmp_path_factory, texts):
    said = {clip: [(start, start + more, text) for start, more, text in each] for clip, each in texts.items()}
    place = tmp_path_factory.mktemp("said")
    store_job.write(*(spoken(store_job, *each) for each in said.items()), directory=place, said=0)
    store = FeatureStore(place)
    read = dict(zip(said, store.words("said", list(said))))
    for clip, found in read.items():
        kept = sorted(said[clip], key=lambda each: each[0])
        plain = [(*each[:2], "".join(c for c in " ".join(each[2].split()) if c.isprintable())) for each in kept]
        assert (found or []) == [(*each[:2], each[2].strip()) for each in plain if each[2].strip()]
    assert store.lengths("said", list(said)) == [len(each or ()) for each in read.values()]
    assert list(store.clips["said"]) == ["present" if read[clip] else "missing" for clip in sorted(said)]


def test_pandas_reads_it_and_it_is_listed_merged_and_overwritten(spoken_store, store_job, tmp_path):
    store, shard = FeatureStore(spoken_store), shard_of(spoken_store)
    assert store.dims == {"said": 0}
    assert store.times("said", ["a", "c"]) == [None, None]
    with pytest.raises(KeyError, match="holds words"):
        store.read("said", ["a"])
    rows = pd.read_parquet(spoken_store / "said" / f"{shard}.parquet")
    assert rows.values.tolist() == [[clip, *each] for clip, said in SAID.items() for each in said or ()]
    (listed,) = summarise(store)
    assert [listed[key] for key in ("size", "rows", "files", "present", "missing", "timed")] == [
        0,
        3,
        1,
        2,
        1,
        True,
    ]
    merge_stores(tmp_path / "all", [spoken_store], quiet)
    assert FeatureStore(tmp_path / "all").words("said", list(SAID)) == list(SAID.values())
    manifest = store_job.declare(said=0, overwrite=True)
    clear_overwritten(spoken_store, manifest)
    assert list((spoken_store / "said").iterdir()) == []
    store_job.write(spoken(store_job, "a", [(0, 1, "anew")]), said=0)
    assert FeatureStore(spoken_store).words("said", ["a"]) == [[(0, 1, "anew")]]


def test_damage_is_found_and_repaired(spoken_store):
    path = next((spoken_store / "said").iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"said.*damaged"):
        FeatureStore(spoken_store).words("said", ["a"])
    assert list(wrong(spoken_store)) == [f"said/{path.name}"]
    assert summarise(FeatureStore(spoken_store))[0]["rows"] == 0
    repair(spoken_store, check_store(spoken_store, quiet).findings)
    assert (wrong(spoken_store), FeatureStore(spoken_store).done("said")) == ({}, {"c"})


GOOD = {"clip_id": ["a", "a"], "start_s": [0.0, 1.0], "end_s": [1.0, 2.0], "words": ["x", "y"]}
TABLES = {
    "another column": {**GOOD, "more": [1, 2]},
    "numbers as words": {**GOOD, "words": [1, 2]},
    "text as times": {**GOOD, "start_s": ["0", "1"]},
    "no words": {**GOOD, "words": ["x", None]},
    "no rows": {name: pa.array(values)[:0] for name, values in GOOD.items()},
    "not a number": {**GOOD, "start_s": [0.0, float("nan")]},
    "without end": {**GOOD, "end_s": [1.0, float("inf")]},
    "ends before it starts": {**GOOD, "end_s": [1.0, 0.5]},
    "back in time": {**GOOD, "start_s": [1.0, 0.0]},
    "control characters": {**GOOD, "words": ["x", "\x1b[2J"]},
    "blank": {**GOOD, "words": ["x", " "]},
    "too long": {**GOOD, "words": ["x", "y" * (LONGEST_LINE + 1)]},
    "of other clips": {**GOOD, "clip_id": ["x", "x"]},
}
PLACED = {
    "link": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "text": lambda path: path.write_text("a,b"),
    "sparse": lambda path: path.touch() or os.truncate(path, 1 << 40),
    "zstd": lambda path: pq.write_table(pa.table(GOOD), path, compression="zstd"),
    "a million rows": lambda path: pq.write_table(pa.table({n: v[:1] * 10**6 for n, v in GOOD.items()}), path),
}


def test_a_file_of_words_from_anyone_is_one_sentence(spoken_store, says):
    path, messages = next((spoken_store / "said").iterdir()), []
    for name in [*TABLES, *PLACED]:
        path.rmdir() if path.is_dir() else path.unlink()
        if name in PLACED:
            PLACED[name](path)
        else:
            pq.write_table(pa.table(TABLES[name]), path)
        store = FeatureStore(spoken_store)
        with pytest.raises(InputError) as raised:
            store.words("said", ["a"])
        messages.append(f"{name}: {raised.value}".replace(path.stem, "SHARD").partition(". Remove it")[0])
    says("\n".join(messages))


WRONG = {
    "shape": (np.zeros((2, 2)), ("one",)),
    "nothing": (np.zeros((0, 2)), ()),
    "control character": (np.zeros((1, 2)), ("a\nb",)),
    "not a number": (np.array([[0.0, np.nan]]), ("a",)),
    "end before start": (np.array([[1.0, 0.0]]), ("a",)),
    "order": (np.array([[1.0, 1.0], [0.0, 1.0]]), ("a", "b")),
    "length": (np.zeros((300, 2)), ("x" * LONGEST_LINE,) * 300),
}


@pytest.mark.parametrize("made", WRONG)
def test_words_that_cannot_be_are_not_made(made):
    with pytest.raises(ValueError, match=r"words are lines|reshape"):
        Words(*WRONG[made])


def test_an_extractor_gives_what_its_size_says():
    for made, dim in ((Stream(np.ones((1, 3), np.float32), np.ones(1)), 0), (Words.of([(0, 1, "x")]), 3)):
        with pytest.raises(MediaError, match="said extractor gave words instead"):
            checked("said", type("Any", (), {"dim": dim}), made, "clip")


def test_text_is_cut_at_the_limits():
    words = Words.of([(0, 1, "x" * 5000), *((n, n, "y" * 900) for n in range(1, 400))])
    assert len(words.lines[0]) == LONGEST_LINE
    assert sum(map(len, words.lines)) == MOST_TEXT
    assert Words.of([(0, 1, "\u200b \n")]) is None


def test_videos_as_csv_and_vtt_say_each_utterance_once(store_job, says):
    shared, late = (9.0, 11.0, "over the cut"), (20.0, 20.0, "=SUM(A1) <i> -->")
    spans = [("v.mp4#t=0,10", 0.0, [shared]), ("v.mp4#t=10,20", 10.0, [shared, late])]
    records = [
        spoken(store_job, clip, said, "v.mp4", of=2, start_s=start, end_s=30.0) for clip, start, said in spans
    ]
    store = FeatureStore(store_job.write(*records, spoken(store_job, "d/w.mp4", [(0, 1, "@x, y")]), said=0))
    table = words_table(store)
    assert list(as_vtt(table)) == ["d/w.mp4", "v.mp4"] == [*as_vtt(words_table(store, "said"))]
    assert list(words_table(store, video="v.mp4")["words"]) == [shared[2], late[2]]
    says(as_vtt(table)["v.mp4"] + as_csv(table))
    for asked, reason in (({"video": "x"}, "no usable video 'x'"), ({"stream": "x"}, "no 'x'; it has said")):
        with pytest.raises(InputError, match=reason):
            words_table(store, **asked)


@pytest.mark.parametrize("name", ["../x.mp4", "/x.mp4", "a/../../x.mp4", ".x"])
def test_no_name_of_a_video_leads_out_of_the_folder(tmp_path, name):
    assert vtt_path(tmp_path, "a/b.mp4") == tmp_path / "a" / "b.mp4.vtt"
    with pytest.raises(InputError, match="cannot be the name of a file"):
        vtt_path(tmp_path, name)


def test_words_and_numbers_are_not_mixed(spoken_store, store_job, tmp_path):
    with pytest.raises(InputError, match="never mixes"):
        store_job.declare(said=3)
    for path in (tmp_path / "x.npz", tmp_path / "x.parquet"):
        with pytest.raises(InputError, match=r"'said' .* holds words: .* mee store words"):
            export_stream(FeatureStore(spoken_store), path, ["said"], quiet)
    declare(tmp_path / "numbers", {}, None, overwrite=False)
    with pytest.raises(InputError, match="no stream of words"):
        words_table(FeatureStore(tmp_path / "numbers"))
