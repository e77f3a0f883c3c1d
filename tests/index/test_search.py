"""Searcher: sentences to hits, with the model that the index was made with and no other."""

import shutil

import pytest
import torch

from index.search import Searcher
from index.video_index import Origin, VideoIndex
from mee.checkpoint import fingerprint
from mee.data import load_clips
from mee.errors import InputError
from mee.gallery import encode_gallery

CPU = torch.device("cpu")


@pytest.fixture
def place(model, source, tmp_path):
    """A folder with a model and an index of the source's clips."""
    model.save_pretrained(tmp_path / "model")
    origin = Origin(str(tmp_path / "model"), fingerprint(tmp_path / "model"), "store")
    video_index = VideoIndex(model.layout, origin)
    video_index.add(encode_gallery(model, source, list(source.clips.index)), source.clips)
    video_index.save(tmp_path / "index")
    return tmp_path


def test_search_scores_as_the_model_does(model, source, place, sentences):
    ids = list(source.clips.index)
    scores = model(sentences, load_clips(source, model.modalities, ids))
    searcher = Searcher.load(place / "index", device=CPU)
    assert searcher.modalities == model.modalities
    for row, hits in zip(scores, searcher.search(sentences, 12)):
        order = row.argsort(descending=True).tolist()
        assert [hit.clip_id for hit in hits] == [ids[number] for number in order]
        assert [hit.score for hit in hits] == pytest.approx(row[order].tolist(), abs=1e-5)


def test_the_same_sentence_twice_gets_the_same_answer(place):
    once, again = Searcher.load(place / "index", device=CPU).search(["a dog", "a dog"], 3)
    assert [hit.clip_id for hit in once] == [hit.clip_id for hit in again]


def test_an_empty_sentence_is_refused(place):
    with pytest.raises(InputError, match="number 2 of 2"):
        Searcher.load(place / "index", device=CPU).search(["a dog", " "], 3)


def test_a_model_that_is_gone_or_moved(place):
    shutil.move(place / "model", place / "elsewhere")
    with pytest.raises(InputError, match=r"is not at .*--model"):
        Searcher.load(place / "index", device=CPU)
    moved = Searcher.load(place / "index", device=CPU, model=place / "elsewhere")
    assert len(moved.search(["a dog"], 3)[0]) == 3
    with pytest.raises(InputError, match="nowhere"):
        Searcher.load(place / "index", device=CPU, model=place / "nowhere")


def test_a_model_that_changed_is_refused(place, model):
    with torch.no_grad():
        model.mixture.bias.add_(1)
    model.save_pretrained(place / "model")
    with pytest.raises(InputError, match=r"is not the model .*--overwrite"):
        Searcher.load(place / "index", device=CPU)


def test_a_model_that_is_not_whole_is_refused(place):
    (place / "model" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        Searcher.load(place / "index", device=CPU)


def test_an_index_of_another_layout_is_refused(place, model):
    video_index = VideoIndex.load(place / "index")
    video_index.layout = type(model.layout)(("appearance",), (6,))
    with pytest.raises(ValueError, match="the model makes"):
        Searcher(video_index, model)
