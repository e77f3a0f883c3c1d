"""Which captions an epoch shows, which pairs are negatives, which image captions are for training."""

from collections import Counter

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.training.config import TrainConfig
from mee.training.data import Negatives, draw_captions, drawn, image_pairs

OWNERS = st.lists(st.integers(0, 5), max_size=20)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def world(videos, images):
    """Captions of videos 0 to 5 and of images 6 to 11, in any order."""
    owner = torch.tensor([*videos, *(6 + image for image in images)], dtype=torch.int64)
    return owner, owner >= 6


@given(OWNERS, OWNERS, st.integers(0, 4), st.sampled_from([0.0, 0.3, 0.5, 1.0, 7.0]), st.integers(0, 99))
def test_every_epoch_has_the_captions_it_should(videos, images, k, rate, seed):
    owner, image = world(videos, images)
    order = torch.randperm(len(owner), generator=seeded(seed))
    owner, image = owner[order], image[order]
    config = TrainConfig(captions_per_video=k, image_rate=rate)
    chosen = draw_captions(owner, image, config, seeded(seed))
    assert len(set(chosen.tolist())) == len(chosen) == drawn(owner, image, config)
    there, of_video, of_image = Counter(videos), Counter(), Counter()
    for number in chosen.tolist():
        (of_image if image[number] else of_video)[int(owner[number])] += 1
    assert of_video == {video: min(count, k or count) for video, count in there.items()}
    assert set(of_image.values()) <= {1}
    assert len(of_image) == min(len(set(images)), int(rate * len(there) + 0.5))


@given(OWNERS, OWNERS, st.integers(0, 3), st.integers(0, 99))
def test_the_seed_decides(videos, images, k, seed):
    config = TrainConfig(captions_per_video=k, image_rate=1)
    one, same = (draw_captions(*world(videos, images), config, seeded(seed)) for _ in range(2))
    assert one.equal(same)


def frequencies(owner, image, config, epochs=3000):
    generator, seen = seeded(), Counter()
    for _ in range(epochs):
        seen.update(draw_captions(owner, image, config, generator).tolist())
    return [seen[number] / epochs for number in range(len(owner))]


def test_captions_of_a_video_are_equally_likely():
    owner, image = world([0, 0, 0, 0, 0, 1], [])
    shares = frequencies(owner, image, TrainConfig(captions_per_video=2))
    assert shares[:5] == pytest.approx([0.4] * 5, abs=0.04)
    assert shares[5] == 1


def test_images_are_equally_likely_however_many_captions_they_have():
    owner, image = world([0, 1], [0] * 9 + [1, 2, 3])
    shares = frequencies(owner, image, TrainConfig(image_rate=0.5))  # one image an epoch
    assert sum(shares[2:11]) == pytest.approx(0.25, abs=0.04)
    assert shares[11:] == pytest.approx([0.25] * 3, abs=0.04)


def test_places_in_an_epoch_are_equally_likely_for_videos_and_images():
    owner, image = world([0, 1, 2], [0, 1, 2])
    generator, first = seeded(), Counter()
    for _ in range(3000):
        first[int(draw_captions(owner, image, TrainConfig(image_rate=1), generator)[0])] += 1
    assert [first[number] / 3000 for number in range(6)] == pytest.approx([1 / 6] * 6, abs=0.03)


def test_epochs_differ():
    owner, image = world([0] * 8 + [1] * 8, [])
    generator = seeded()
    one, other = (draw_captions(owner, image, TrainConfig(captions_per_video=2), generator) for _ in range(2))
    assert one.tolist() != other.tolist()


SAID = st.lists(
    st.tuples(st.sampled_from(["a dog", "A  dog", "a cat", " a CAT ", "a horse", "rain"]), st.integers(0, 4)),
    min_size=1,
    max_size=12,
)


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


def test_a_video_number_may_be_any():
    negative = Negatives(["one", "two", "one"], torch.tensor([7, 0, 3]))(torch.arange(3))
    assert negative.tolist() == [[False, True, False], [True, False, True], [False, True, False]]


def test_only_training_captions_are_taken(source):
    table = pd.DataFrame(
        {
            "video_id": ["v00", "v01", "v01"],
            "caption": ["one", "two", "three"],
            "split": ["train", "test", "train"],
        }
    )
    pairs = image_pairs(table, source, partial=False)
    assert pairs.captions == ("one", "three")
    assert pairs.videos == ("v00.mp4", "v01.mp4")
    assert image_pairs(table.drop(columns="split"), source, partial=False).captions == ("one", "two", "three")


def test_none_for_training_and_unknown_images_are_refused(source):
    table = pd.DataFrame({"video_id": ["v00"], "caption": ["one"], "split": ["test"]})
    with pytest.raises(InputError, match="split 'train'"):
        image_pairs(table, source, partial=False)
    table = pd.DataFrame({"video_id": ["v00", "elsewhere"], "caption": ["one", "two"]})
    with pytest.raises(InputError, match="elsewhere"):
        image_pairs(table, source, partial=False)
    assert image_pairs(table, source, partial=True).captions == ("one",)
