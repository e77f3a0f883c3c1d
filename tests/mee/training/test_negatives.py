"""Negatives: against a plain loop over what the captions say."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.training.data import Negatives

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
