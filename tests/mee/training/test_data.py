"""The training set: every caption once, one clip each, always at least one stream."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mee.distributed
from mee.config import ExpertConfig
from mee.data.pairs import match_captions
from mee.distributed import joint_numbers, joint_rows, joint_sum, process_number, processes, share
from mee.errors import InputError
from mee.model import MEE
from mee.streams import availability
from mee.training import data as training
from mee.training.config import TrainConfig
from mee.training.data import Negatives, TrainingData, draw_captions, keep_streams

EXPERTS = [ExpertConfig(name=name, input_dim=dim) for name, dim in (("audio", 3), ("appearance", 5))]
MODALITIES = [expert.name for expert in EXPERTS]


def training_data(source, video_ids, captions=None, images=None):
    captions = captions or [f"caption {number}" for number in range(len(video_ids))]
    table = pd.DataFrame({"video_id": video_ids, "caption": captions})
    return TrainingData(source, match_captions(table, source, partial=False)[0], EXPERTS, images)


def settings(batch_size, stream_dropout=0.0, **more):
    return TrainConfig(batch_size=batch_size, stream_dropout=stream_dropout, **more)


def captions_of(data, batch):
    return [data.captions[number] for number in batch.numbers.tolist()]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 2**31), st.floats(0, 0.99))
def test_hiding_streams_leaves_each_clip_one_and_brings_none_back(seed, chance):
    available = torch.rand(20, 3, generator=generator(seed)) < 0.6
    available[:, 0] |= ~available.any(1)
    kept = keep_streams(available, chance, generator(seed))
    assert not (kept & ~available).any()
    assert kept.any(1).all()
    everything = torch.ones(400, 3, dtype=torch.bool)
    assert keep_streams(everything, 0, generator()).all()
    kept = keep_streams(everything, 0.5, generator())
    assert len(torch.unique(kept, dim=0)) == 7
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
        for batch in data.batches(settings(4), generator(epoch)):
            shown = captions_of(data, batch)
            captions += shown
            for row, caption in enumerate(shown):
                number = int(caption.split()[1])
                mark = int(batch.clips["audio"].padded[row, 0, 0])
                assert mark // 10 == "abc".index(ids[number][0])
                assert number != 5 or mark == 21
                seen.add(mark)
            letters = [ids[int(caption.split()[1])][0] for caption in shown]
            assert batch.negative.tolist() == [[one != other for other in letters] for one in letters]
        assert sorted(captions) == data.captions
    assert len(seen) == 9


def test_clips_without_the_models_streams_are_never_drawn(make_source):
    source = make_source(["a.mp4", "b.mp4", "c.mp4"], clips_of_video=2, missing=0)
    for name in MODALITIES:
        del source.streams[name]["a.mp4#t=0,10"]
        for clip_id in ("c.mp4#t=0,10", "c.mp4#t=10,20"):
            del source.streams[name][clip_id]  # only motion is left, which was not requested
    data = training_data(source, ["a", "b", "c"])
    assert data.captions == ["caption 0", "caption 1"]
    for epoch in range(5):
        for batch in data.batches(settings(4, 0.5), generator(epoch)):
            assert availability(batch.clips, MODALITIES).any(1).all()
    assert sorted(set(data.matches()[1].tolist())) == [1, 2, 3]  # of a.mp4 the second clip alone


def image_pairs(source, count, captions=2):
    ids = [f"i{number:02d}.png" for number in range(count) for _ in range(captions)]
    table = pd.DataFrame({"video_id": ids, "caption": [f"image {n}" for n in range(len(ids))]})
    return match_captions(table, source, partial=False)[0]


@pytest.fixture
def pictures(make_source):
    """pictures(count): a source of stills; reading audio or motion of it would fail."""

    def make(count):
        source = make_source([f"i{number:02d}.png" for number in range(count)], missing=0, seed=9)
        source.streams = {"appearance": source.streams["appearance"]}
        return source

    return make


def test_images_are_clips_that_only_have_their_appearance(source, pictures):
    stills = pictures(5)
    data = training_data(source, list(source.clips.index), images=(stills, image_pairs(stills, 5)))
    assert data.image.tolist() == [False] * 12 + [True] * 10
    config, mixed = settings(6, 0.5, image_rate=0.25), 0
    seen = []
    for epoch in range(8):
        shown = torch.cat([batch.numbers for batch in data.batches(config, generator(epoch))])
        assert int(data.image[shown].sum()) == 3  # a quarter of 12 videos
        seen.append(tuple(sorted(data.video[shown[data.image[shown]]].tolist())))
        assert len(set(seen[-1])) == 3  # of three images, one caption each
        for batch in data.batches(config, generator(epoch)):
            still = data.image[batch.numbers]
            assert not batch.clips["audio"].available[still].any()
            assert batch.clips["appearance"].available[still].all()
            mixed += int(0 < int(still.sum()) < len(still))
            assert (batch.negative[still][:, ~still]).all()
    assert mixed
    assert len(set(seen)) > 3  # fresh ones each epoch


def test_an_image_may_bear_a_videos_name_and_a_sentence_of_it(make_source):
    videos, stills = make_source(["a.mp4", "b.mp4"], missing=0), make_source(["a.mp4"], missing=0, seed=5)
    pairs, _ = match_captions(pd.DataFrame({"video_id": ["a"], "caption": ["A dog"]}), stills, partial=False)
    data = training_data(videos, ["a", "b"], ["a cat", "a dog"], images=(stills, pairs))
    assert len(data.video.unique()) == 3
    assert data.negatives(torch.arange(3)).tolist() == [
        [False, True, True],
        [True, False, False],  # a dog: b.mp4, and the image too
        [True, False, False],
    ]
    rows = data.clips(data.matches()[1][[0, 2]])["appearance"]
    assert not rows.padded[0, 0].equal(rows.padded[1, 0])


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=14).filter(lambda owners: len(set(owners)) > 1),
    st.integers(0, 4),
    st.integers(2, 7),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.4, 3.0]),
    st.sampled_from([1, 2, 3]),
)
def test_steps_is_the_number_of_batches(make_source, owners, images, batch_size, k, rate, processes):
    source = make_source([f"v{number}.mp4" for number in range(4)], missing=0)
    stills = make_source([f"i{number:02d}.png" for number in range(4)], missing=0)
    pictures = (stills, image_pairs(stills, images)) if images else None
    data = training_data(source, [f"v{owner}" for owner in owners], images=pictures)
    config = settings(max(batch_size, processes), captions_per_video=k, image_rate=rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "processes", lambda: processes)
        batches = list(data.batches(config, generator()))
        assert data.steps(config) == len(batches)
        assert all(max(2, processes) <= len(batch.numbers) <= config.batch_size for batch in batches)


def test_every_process_draws_the_same_and_takes_its_share_of_what_the_encoder_reads(source, model_config):
    data = training_data(source, list(source.clips.index), [f"a dog number {number % 5}" for number in range(12)])
    model = MEE.learn(replace(model_config, experts=model_config.experts[::2]), data.captions)
    data.prepare(model)
    whole = list(data.batches(settings(5, 0.6), generator()))
    parts = []
    for number in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mee.distributed.processes", lambda: 2)
            patch.setattr("mee.distributed.process_number", lambda number=number: number)
            parts.append(list(data.batches(settings(5, 0.6), generator())))
    for batch, *both in zip(whole, *parts, strict=True):
        for part in both:
            assert part.numbers.equal(batch.numbers)
            assert part.negative.equal(batch.negative)
        for name, streams in batch.clips.items():
            assert torch.cat([part.clips[name].lengths for part in both]).equal(streams.lengths)
            rows = torch.cat([part.clips[name].padded[:, 0] for part in both])
            assert rows[streams.available].equal(streams.padded[:, 0][streams.available])
        for tower, read in batch.sentences.items():
            assert torch.cat([part.sentences[tower].lengths for part in both]).equal(read.lengths)
        read, expected = batch.sentences[""], model.text_encoder.pad(captions_of(data, batch))
        assert read.lengths.equal(expected.lengths)
        for row, length in enumerate(expected.lengths.tolist()):
            assert read.padded[row, :length].equal(expected.padded[row, :length])


def test_too_few_videos_and_numbers_that_are_not_finite_are_refused(make_source, pictures):
    source = make_source(["a.mp4", "b.mp4"], missing=0)
    with pytest.raises(InputError, match="those of 1 have a clip with audio or appearance"):
        training_data(source, ["a", "a"])
    stills = pictures(3)
    with pytest.raises(InputError, match="at least two videos"):  # for which images do not make up
        training_data(source, ["a"], images=(stills, image_pairs(stills, 3)))
    for value in (np.nan, np.inf):
        source.streams["audio"]["b.mp4"][-1, 1] = value
        with pytest.raises(InputError, match=r"'audio' stream of b\.mp4 has NaN or infinity"):
            training_data(source, ["a", "b"])
    for name in MODALITIES:
        source.streams[name].clear()
    with pytest.raises(InputError, match=r"at least two videos.*those of 0 have a clip"):
        training_data(source, ["a", "b"])


# ---- which captions an epoch shows, which pairs are negatives, which image captions are for training

OWNERS = st.lists(st.integers(0, 5), max_size=20)


def owners(videos, images):
    """Captions of videos 0 to 5 and of images 6 to 11, in any order."""
    owner = torch.tensor([*videos, *(6 + image for image in images)], dtype=torch.int64)
    return owner, owner >= 6


@given(OWNERS, OWNERS, st.integers(0, 4), st.sampled_from([0.0, 0.3, 0.5, 1.0, 7.0]), st.integers(0, 99))
def test_every_epoch_has_the_captions_it_should(videos, images, k, rate, seed):
    owner, image = owners(videos, images)
    order = torch.randperm(len(owner), generator=generator(seed))
    owner, image = owner[order], image[order]
    config = TrainConfig(captions_per_video=k, image_rate=rate)
    chosen = draw_captions(owner, image, config, generator(seed))
    assert draw_captions(owner, image, config, generator(seed)).equal(chosen)
    assert len(set(chosen.tolist())) == len(chosen)
    there, of_video, of_image = Counter(videos), Counter(), Counter()
    for number in chosen.tolist():
        (of_image if image[number] else of_video)[int(owner[number])] += 1
    assert of_video == {video: min(count, k or count) for video, count in there.items()}
    assert set(of_image.values()) <= {1}
    assert len(of_image) == min(len(set(images)), int(rate * len(there) + 0.5))


def frequencies(owner, image, config, first=None, epochs=3000):
    """How often each caption is drawn, or is among the first of an epoch."""
    draws, seen = generator(), Counter()
    for _ in range(epochs):
        seen.update(draw_captions(owner, image, config, draws)[:first].tolist())
    return [seen[number] / epochs for number in range(len(owner))]


def test_draws_are_equally_likely():
    shares = frequencies(*owners([0, 0, 0, 0, 0, 1], []), TrainConfig(captions_per_video=2))
    assert shares == pytest.approx([0.4] * 5 + [1], abs=0.04)
    # one image an epoch, however many captions it has
    shares = frequencies(*owners([0, 1], [0] * 9 + [1, 2, 3]), TrainConfig(image_rate=0.5))
    assert [sum(shares[2:11]), *shares[11:]] == pytest.approx([0.25] * 4, abs=0.04)
    # places in an epoch
    shares = frequencies(*owners([0, 1, 2], [0, 1, 2]), TrainConfig(image_rate=1), first=1)
    assert shares == pytest.approx([1 / 6] * 6, abs=0.03)


TEXTS = st.sampled_from(["a dog", "A  dog", "a cat", " a CAT ", "a horse", "rain"])
SAID = st.lists(st.tuples(TEXTS, st.integers(0, 4)), min_size=1, max_size=12)


@given(SAID, st.data())
def test_a_pair_is_a_negative_unless_some_caption_of_the_clips_video_says_the_same(said, data):
    captions, videos = zip(*said)
    chosen = data.draw(st.lists(st.integers(0, len(said) - 1), max_size=8))
    negative = Negatives(captions, torch.tensor(videos))(torch.tensor(chosen, dtype=torch.int64))
    assert negative.shape == (len(chosen), len(chosen))
    for row, i in enumerate(chosen):
        for column, j in enumerate(chosen):
            true_of_it = {caption.lower().split()[-1] for caption, video in said if video == videos[j]}
            assert negative[row, column] == (captions[i].lower().split()[-1] not in true_of_it)


def test_only_training_captions_of_images_are_taken(source):
    rows = [("v00", "one", "train"), ("v01", "two", "test"), ("v01", "three", "train"), ("gone", "four", "train")]
    table = pd.DataFrame(rows, columns=["video_id", "caption", "split"])
    known = table.iloc[:3]
    pairs = training.image_pairs(known, source, partial=False)
    assert (pairs.captions, pairs.videos) == (("one", "three"), ("v00.mp4", "v01.mp4"))
    whole = training.image_pairs(known.drop(columns="split"), source, partial=False)
    assert whole.captions == ("one", "two", "three")
    assert training.image_pairs(table, source, partial=True).captions == ("one", "three")
    with pytest.raises(InputError, match="gone"):
        training.image_pairs(table, source, partial=False)
    with pytest.raises(InputError, match="split 'train'"):
        training.image_pairs(table.iloc[1:2], source, partial=False)


# ---- several processes (whole runs: tests/test_distributed.py)


@given(st.integers(0, 40), st.integers(1, 9))
def test_shares_tile_the_batch_evenly_and_one_process_changes_nothing(rows, count):
    x = torch.randn(3, 2, requires_grad=True)
    assert (processes(), process_number(), share(3)) == (1, 0, slice(0, 3))
    assert joint_sum(x) is joint_rows(x, 3) is x
    assert joint_numbers([1.0, 2.5], torch.device("cpu")) == [1.0, 2.5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mee.distributed, "processes", lambda: count)
        whole, lengths = [], []
        for number in range(count):
            patch.setattr(mee.distributed, "process_number", lambda number=number: number)
            mine = list(range(rows))[share(rows)]
            lengths.append(len(mine))
            whole += mine
    assert whole == list(range(rows))
    assert max(lengths) - min(lengths) <= 1
    assert rows < count or min(lengths) >= 1
