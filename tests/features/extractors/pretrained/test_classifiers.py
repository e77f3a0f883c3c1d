"""Classifiers with named classes: rows are the probabilities that plain transformers gives, columns the names."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import transformers

from features.errors import InputError
from features.extractors.pretrained import families
from features.extractors.registry import make_extractor
from tests.features.extractors.pretrained.tiny_checkpoints import change_config, pixels_of, save_tiny, write_json

NAMES = ("tench, Tinca tinca", "apple pie", "playing the cello")


def windows(extractor, clip):
    return pixels_of(extractor, clip).unflatten(0, (-1, 4))


# name, word's end, class, what the model reads
PICTURED = [
    ("vit_classifier", ":output=labels", "ViTForImageClassification", pixels_of),
    ("vit_classifier", ":output=labels,merge=1", None, pixels_of),
    ("dinov2_classifier", ":output=labels", "Dinov2ForImageClassification", pixels_of),
    ("convnext", "", "ConvNextForImageClassification", pixels_of),
    ("videomae_classifier", ":output=labels", "VideoMAEForVideoClassification", windows),
    ("timesformer", "", "TimesformerForVideoClassification", windows),
]


@pytest.mark.parametrize(("name", "options", "kind", "read"), PICTURED)
@torch.inference_mode()
def test_rows_are_probabilities_and_columns_their_names(tiny, clip_of, name, options, kind, read):
    extractor = make_extractor(f"x={tiny(name)}{options}")
    (need,) = extractor.needs
    clip = clip_of(extractor, 4, shape=(need.size, need.size))
    (stream,) = extractor.extract([clip])
    assert (extractor.columns, extractor.dim, extractor.output) == (NAMES, 3, "labels")
    np.testing.assert_allclose(stream.rows.sum(1), 1, atol=1e-5)
    if kind is None:
        return
    model = getattr(transformers, kind).from_pretrained(tiny(name)).eval()
    wanted = model(pixel_values=read(extractor, clip)).logits.softmax(1).numpy()
    np.testing.assert_allclose(stream.rows, wanted, atol=1e-5)
    assert len(wanted) == 1 or wanted.std(0).max() > 1e-4


@torch.inference_mode()
def test_classes_that_hold_at_once_have_each_its_own_probability(tiny, clip_of, tmp_path):
    extractor = make_extractor(f"x={tiny('ast')}:output=labels")
    clip = clip_of(extractor, 2)
    (stream,) = extractor.extract([clip])
    sounds = extractor.inputs.prepare(extractor.inputs.rows(clip).items)["sound"]
    model = transformers.ASTForAudioClassification.from_pretrained(tiny("ast")).eval()
    np.testing.assert_allclose(stream.rows, model(sounds).logits.sigmoid().numpy(), atol=1e-5)
    assert (extractor.modality, extractor.columns[526]) == ("audio", "sound of 526 birds")
    several = save_tiny("vit_classifier", tmp_path, problem_type="multi_label_classification")
    extractor = make_extractor(f"x={several}:output=labels")
    assert (extractor.extract([clip_of(extractor, 1)])[0].rows.sum() - 1) ** 2 > 1e-6


def test_a_picture_is_cut_as_its_kind_of_processor_cuts_it(tiny, tmp_path):
    recipe = make_extractor(f"x={tiny('convnext')}").inputs.recipe
    assert (recipe.resize, recipe.crop) == (32, (28, 28))  # 28 / 0.875
    file = json.loads((save_tiny("convnext", tmp_path) / "preprocessor_config.json").read_text())
    write_json(tmp_path / "preprocessor_config.json", {**file, "size": 384})
    recipe = make_extractor(f"x={tmp_path}").inputs.recipe
    assert recipe.resize == recipe.crop == (384, 384)
    for change in ({"crop_pct": 1e-9}, {"crop_pct": "x"}, {"include_top": True}):
        write_json(tmp_path / "preprocessor_config.json", {**file, **change})
        with pytest.raises(InputError, match="its preprocessor file cannot be followed"):
            make_extractor(f"x={tmp_path}")


def test_a_default_output_stays_what_it_was(tiny):
    outputs = {make_extractor(f"x={tiny(name)}").output for name in ("videomae_classifier", "ast")}
    assert (outputs, make_extractor(f"x={tiny('vit_classifier')}").output) == ({"pooled"}, "class")


TIMM = {"architecture": "test_vit", "num_classes": 3, "label_names": list(NAMES)}
TIMM |= {"pretrained_cfg": {"input_size": [3, 160, 160], "crop_pct": 0.8, "mean": [0.5] * 3, "std": [0.5] * 3}}


def test_what_is_said_of_classifiers_without_names(tmp_path, says_all, monkeypatch):
    def make(case):
        name, changes, output = case
        monkeypatch.setattr(families, "find_spec", lambda name: changes or None)  # without changes: no timm
        place = tmp_path / name
        if name == "timm":
            write_json(place / "config.json", {**TIMM, **changes})
        else:
            change_config(save_tiny(name, place), **changes)
        make_extractor(f"x={place}{output}")

    (tmp_path / "timm").mkdir()
    named, numbered = ({"id2label": dict(enumerate(names))} for names in (["a", None], ["LABEL_0", "LABEL_1"]))
    cases = [("vit_classifier", changes, ":output=labels") for changes in (named, numbered, {"id2label": None})]
    cases += [("vit", {}, ":output=labels"), ("convnext", {"id2label": {"1": "a", "2": "b"}}, "")]
    cases += [("vit_classifier", {"id2label": {"0": "bell\x07"}}, ":output=labels")]
    cuts = ({"pretrained_cfg": wrong} for wrong in ({"input_size": [1]}, {"crop_mode": "border"}))
    others = ({"architecture": "hf-hub:a/b"}, {"label_names": 5}, {})
    cases += [("timm", changes, "") for changes in (*cuts, *others)]
    says_all(make, cases)


@pytest.mark.skipif(find_spec("timm") is None, reason="needs mee[timm]")
@torch.inference_mode()
def test_a_classifier_of_timm(tmp_path, clip_of):
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("test_vit", num_classes=3, img_size=160).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    # arguments that would make timm open another file are left out
    arguments = {"img_size": [160, 160], "checkpoint_path": "/evil.bin", "num_classes": 3}
    write_json(tmp_path / "config.json", {**TIMM, "model_args": arguments})
    extractor = make_extractor(f"x={tmp_path}")
    recipe = extractor.inputs.recipe
    assert (extractor.columns, recipe.resize, recipe.crop) == (NAMES, 200, (160, 160))
    clip = clip_of(extractor, 2)
    (stream,) = extractor.extract([clip])
    np.testing.assert_allclose(stream.rows, model(pixels_of(extractor, clip)).softmax(1), atol=1e-5)
