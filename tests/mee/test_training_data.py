"""The training set: every caption once, one clip each, always at least one stream."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.batch import Streams, availability
from mee.pairs import match_captions
from mee.training_data import TrainingData, hide_streams

MODALITIES = ["audio", "appearance"]


def training_data(source, video_ids, captions=None):
    captions = captions or [f"caption {number}" for number in range(len(video_ids))]
    table = pd.DataFrame({"video_id": video_ids, "caption": captions})
    return TrainingData(source, match_captions(table, source, partial=False)[0], MODALITIES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 2**31), st.floats(0, 0.99))
def test_hiding_streams_leaves_each_clip_one_and_brings_none_back(seed, chance):
    lengths = torch.randint(0, 3, (20, 3), generator=generator(seed))
    lengths[:, 0].clamp_(min=1)
    clips = {name: Streams(torch.zeros(20, 2, 1), lengths[:, m]) for m, name in enumerate("abc")}
    before = availability(clips, "abc")
    hidden = hide_streams(clips, chance, generator(seed))
    after = availability(hidden, "abc")
    assert not (after & ~before).any()
    assert after.any(1).all()
    for m, name in enumerate("abc"):
        assert hidden[name].lengths[after[:, m]].equal(lengths[:, m][after[:, m]])


def test_no_chance_hides_nothing_and_a_high_chance_hides_most():
    clips = {name: Streams(torch.zeros(400, 1, 1), torch.ones(400, dtype=torch.int64)) for name in "abc"}
    assert availability(hide_streams(clips, 0, generator()), "abc").all()
    kept = availability(hide_streams(clips, 0.5, generator()), "abc")
    patterns = torch.unique(kept, dim=0)
    assert len(patterns) == 7
    assert 0.5 < kept.float().mean() < 0.65  # (1 + 4 / 7 of the rest) a clip: a half, and those that lost all


def test_a_batch_holds_each_caption_once_with_a_clip_of_its_video(make_source):
    source = make_source(["a.mp4", "b.mp4", "c.mp4"], clips_of_video=3, missing=0)
    for clip_id in source.clips.index:  # every clip says who it is
        video, number = "abc".index(clip_id[0]), int(float(clip_id.partition("=")[2].partition(",")[0]) / 10)
        source.streams["audio"][clip_id] = source.streams["audio"][clip_id][:1] * 0 + 10 * video + number
    ids = ["a", "b", "c", "a", "b", "c.mp4#t=10,20"]
    data = training_data(source, ids)
    seen = set()
    for epoch in range(12):
        captions = []
        for batch in data.batches(4, 0.0, generator(epoch)):
            captions += batch.captions
            for row, caption in enumerate(batch.captions):
                number = int(caption.split()[1])
                mark = int(batch.clips["audio"].padded[row, 0, 0])
                assert mark // 10 == "abc".index(ids[number][0])
                assert number != 5 or mark == 21
                seen.add(mark)
            letters = [ids[int(caption.split()[1])][0] for caption in batch.captions]
            assert batch.negative.tolist() == [[one != other for other in letters] for one in letters]
        assert sorted(captions) == data.captions
    assert len(seen) == 9


def test_a_lone_last_caption_is_left_out(make_source):
    data = training_data(make_source(["a.mp4", "b.mp4"]), ["a", "b", "a"])
    assert [len(batch.captions) for batch in data.batches(2, 0.0, generator())] == [2]


def test_sentences_are_the_same_whatever_their_case_and_spacing(make_source):
    data = training_data(
        make_source(["a.mp4", "b.mp4", "c.mp4"]), ["a", "b", "c"], ["A  dog", "a dog", "another dog"]
    )
    negative = data.negatives(torch.arange(3))
    assert negative.tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_a_pair_is_no_negative_where_any_caption_of_the_clip_says_the_same(make_source):
    source = make_source(["a.mp4", "b.mp4", "c.mp4"])
    data = training_data(source, ["a", "a", "b", "c"], ["a dog", "a cat", "a cat", "a horse"])
    dog, cat, other_cat, horse = range(4)
    negative = data.negatives(torch.tensor([dog, other_cat, horse]))
    assert not negative[1, 0]  # "a cat" was said of a.mp4 too, though by a caption that is not in this batch
    assert negative[0, 1]  # nobody said "a dog" of b.mp4
    assert data.negatives(torch.tensor([cat, horse])).tolist() == [[False, True], [True, False]]


def test_clips_without_the_models_streams_are_never_drawn(make_source):
    source = make_source(["a.mp4", "b.mp4", "c.mp4"], clips_of_video=2, missing=0)
    for name in MODALITIES:
        del source.streams[name]["a.mp4#t=0,10"]
        for clip_id in ("c.mp4#t=0,10", "c.mp4#t=10,20"):
            del source.streams[name][clip_id]  # only motion is left, which is not asked for
    data = training_data(source, ["a", "b", "c"])
    assert data.captions == ["caption 0", "caption 1"]
    for epoch in range(5):
        for batch in data.batches(4, 0.5, generator(epoch)):
            assert availability(batch.clips, MODALITIES).any(1).all()
    assert sum(len(clips["audio"].lengths) for clips in data.all_clips(2)) == 3


def test_the_seed_decides_everything(source):
    data = training_data(source, list(source.clips.index))
    one, same, other = (
        [(batch.captions, availability(batch.clips, MODALITIES).tolist()) for batch in data.batches(5, 0.3, g)]
        for g in (generator(1), generator(1), generator(2))
    )
    assert one == same
    assert one != other


def test_streams_of_different_lengths_are_padded(make_source):
    source = make_source(["a.mp4", "b.mp4"], missing=0)
    rows = source.read("audio", ["a.mp4", "b.mp4"])
    streams = Streams.pad([rows[0], None, rows[1]], 3)
    assert streams.lengths.tolist() == [len(rows[0]), 0, len(rows[1])]
    assert streams.padded.dtype == torch.float32
    assert streams.padded[2, : len(rows[1])].equal(torch.from_numpy(rows[1]).float())
    assert Streams.pad([None], 3).padded.shape == (1, 1, 3)


def test_a_stream_of_another_size_is_refused(make_source):
    with pytest.raises(ValueError, match="broadcast"):
        Streams.pad([make_source(["a.mp4"], missing=0).streams["audio"]["a.mp4"]], 4)
