"""Image captions: those for training only."""

import pandas as pd
import pytest

from mee.errors import InputError
from mee.training.data import image_pairs


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
