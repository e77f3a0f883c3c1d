"""`mee tokens`: the counts of the schedule, the picture, and bad input."""

import json
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
import transformers as hub

from scripts.tokens import main

TINY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
SEES = {"image_size": 32, "patch_size": 4}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Directories of tiny checkpoints."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("models")
    for name, model in {
        "vit": hub.ViTModel(hub.ViTConfig(**TINY, **SEES)),
        "clip": hub.CLIPVisionModelWithProjection(hub.CLIPVisionConfig(**TINY, **SEES, projection_dim=8)),
        "siglip": hub.SiglipVisionModel(hub.SiglipVisionConfig(**TINY, **SEES)),
        "dinov3": hub.DINOv3ViTModel(hub.DINOv3ViTConfig(**TINY, **SEES)),
        "videomae": hub.VideoMAEModel(hub.VideoMAEConfig(**TINY, **SEES, num_frames=4)),
    }.items():
        model.save_pretrained(place / name)
    return place


@pytest.fixture
def picture(tmp_path):
    """Red on the left, noise on the right, as a PNG of another shape than the model's."""
    image = np.zeros((80, 100, 3), np.uint8)
    image[:, :50, 2] = 200
    image[:, 50:] = np.random.default_rng(0).integers(0, 255, (80, 50, 3))
    cv2.imwrite(str(tmp_path / "half.png"), image)
    return tmp_path / "half.png"


@pytest.fixture
def tokens(models, picture, tmp_path, prints):
    """tokens(*arguments): run the command on the picture with the ViT; returns stdout and stderr."""

    def run(*arguments, image=picture, model=models / "vit", out=tmp_path / "out.png", code=0):
        return prints(main, image, "--model", model, "--out", out, *arguments, code=code)

    return run


@pytest.mark.parametrize(
    ("model", "merge", "counts"),
    [
        ("vit", "10", [65, 55, 45, 35]),
        ("clip", "10:falling", [65, 45, 35, 35]),
        ("siglip", "0.25", [64, 48, 32, 16]),
        ("siglip", "40", [64, 32, 16, 8]),
    ],
)
def test_counts_are_the_schedules(tokens, models, tmp_path, model, merge, counts):
    out, err = tokens("--merge", merge, "--json", model=models / model)
    answer = json.loads(out)
    assert answer["tokens"] == counts
    assert (answer["model"], answer["merge"], answer["picture"]) == (model, merge, str(tmp_path / "out.png"))
    assert cv2.imread(str(tmp_path / "out.png")).shape[1] > 1000
    assert f"drawn: {tmp_path / 'out.png'}" in err


def test_the_table_has_a_row_a_layer(tokens):
    title, header, *rows = [line.split() for line in tokens("--merge", "10").out.splitlines()]
    assert title == ["half.png:", "tokens", "of", "vit,", "merge", "10"]
    assert header == ["layer", "tokens", "merged"]
    assert [row[:3] for row in rows] == [["0", "65", "0"], ["1", "55", "10"], ["2", "45", "10"], ["3", "35", "10"]]


def test_a_picture_is_overwritten_and_the_image_itself_is_not(tokens, picture):
    tokens("--merge", "10")
    tokens("--merge", "5")
    before = picture.read_bytes()
    assert "half.png is the picture itself" in tokens(out=picture, code=1).err
    assert picture.read_bytes() == before


def test_the_picture_is_decoded_in_a_worker(tokens, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", Mock(side_effect=AssertionError))
    tokens("--merge", "10")
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "features")
    import pool_work

    monkeypatch.setattr("scripts.tokens.decode", pool_work.shots)
    for path, why in (("crash.png", "the decoder crashed"), ("bomb.png", "it needs more than 3 GB of memory")):
        out, err = tokens("--merge", "10", image=path, code=1)
        assert (out, err) == ("", f"error: '{path}' cannot be read as a picture: {why}\n")


def test_bad_input_is_one_sentence(tokens, models, tmp_path):
    (tmp_path / "song.mp3").write_bytes(b"no picture at all")
    (tmp_path / "empty.png").touch()
    for message, flags, given in (
        (f"--out {tmp_path} does not name a picture", (), {"out": tmp_path}),
        ("out.mp4 does not name a picture", (), {"out": tmp_path / "out.mp4"}),
        ("cannot be read as a picture: there is no such file", (), {"image": tmp_path / "nothing.png"}),
        ("cannot be read as a picture: not", (), {"image": tmp_path / "song.mp3"}),
        ("cannot be read as a picture: the file is empty", (), {"image": tmp_path / "empty.png"}),
        ("there is no such directory", (), {"model": tmp_path / "nowhere" / "deep"}),
        ("does not read single pictures; name a vision transformer", (), {"model": models / "videomae"}),
        ("of type dinov3_vit, cannot be merged; name another model", (), {"model": models / "dinov3"}),
        ("cannot be written", (), {"out": tmp_path / "song.mp3" / "tokens.png"}),
        ("'eight' is neither a number of tokens", ("--merge", "eight"), {}),
        ("'1.5' is neither", ("--merge", "1.5"), {}),
        ("0 merges nothing", ("--merge", "0"), {}),
    ):
        out, err = tokens(*flags, **given, code=1)
        assert (out, err.count("\n")) == ("", 1), message
        assert message in err
