"""`mee tokens`: the counts are the schedule's, the picture shows the groups, and bad input is one sentence."""

import json

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
    made = {
        "vit": hub.ViTModel(hub.ViTConfig(**TINY, **SEES)),
        "clip": hub.CLIPVisionModelWithProjection(hub.CLIPVisionConfig(**TINY, **SEES, projection_dim=8)),
        "siglip": hub.SiglipVisionModel(hub.SiglipVisionConfig(**TINY, **SEES)),
        "dinov3": hub.DINOv3ViTModel(hub.DINOv3ViTConfig(**TINY, **SEES)),
        "videomae": hub.VideoMAEModel(hub.VideoMAEConfig(**TINY, **SEES, num_frames=4)),
    }
    place = tmp_path_factory.mktemp("models")
    for name, model in made.items():
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
def tokens(models, picture, tmp_path, capsys):
    """tokens(*arguments): exit code, stdout, stderr, of a command on the picture with the ViT."""

    def run(*arguments, image=picture, model=models / "vit", out=tmp_path / "out.png"):
        code = main([str(image), "--model", str(model), "--out", str(out), *map(str, arguments)])
        return code, *capsys.readouterr()

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
    code, out, err = tokens("--merge", merge, "--json", model=models / model)
    assert code == 0, err
    answer = json.loads(out)
    assert answer["tokens"] == counts
    assert (answer["model"], answer["merge"], answer["picture"]) == (model, merge, str(tmp_path / "out.png"))
    assert cv2.imread(str(tmp_path / "out.png")).shape[1] > 1000
    assert f"drawn: {tmp_path / 'out.png'}" in err


def test_the_table_has_a_row_a_layer(tokens):
    code, out, _ = tokens("--merge", "10")
    assert code == 0
    title, header, *rows = [line.split() for line in out.splitlines()]
    assert title == ["half.png:", "tokens", "of", "vit,", "merge", "10"]
    assert header == ["layer", "tokens", "merged"]
    assert [row[:3] for row in rows] == [["0", "65", "0"], ["1", "55", "10"], ["2", "45", "10"], ["3", "35", "10"]]


def test_a_picture_is_overwritten_and_the_image_itself_is_not(tokens, tmp_path, picture):
    assert tokens("--merge", "10")[0] == tokens("--merge", "5")[0] == 0
    before = picture.read_bytes()
    code, _, err = tokens(out=picture)
    assert (code, picture.read_bytes()) == (1, before)
    assert "half.png is the picture itself" in err


def test_bad_input_is_one_sentence(tokens, models, tmp_path):
    (tmp_path / "song.mp3").write_bytes(b"no picture at all")
    (tmp_path / "empty.png").touch()
    cases = {
        f"--out {tmp_path} does not name a picture": {"out": tmp_path},
        "out.mp4 does not name a picture": {"out": tmp_path / "out.mp4"},
        "cannot be read as a picture: there is no such file": {"image": tmp_path / "nothing.png"},
        "cannot be read as a picture: not": {"image": tmp_path / "song.mp3"},
        "cannot be read as a picture: the file is empty": {"image": tmp_path / "empty.png"},
        "there is no such directory": {"model": tmp_path / "nowhere" / "deep"},
        "does not read single pictures; name a vision transformer": {"model": models / "videomae"},
        "of type dinov3_vit, cannot be merged; name another model": {"model": models / "dinov3"},
        "cannot be written": {"out": tmp_path / "song.mp3" / "tokens.png"},
    }
    merges = {"'eight' is neither a number of tokens": "eight", "'1.5' is neither": "1.5", "0 merges nothing": "0"}
    schedules = {sentence: ("--merge", merge) for sentence, merge in merges.items()}
    for sentence, arguments in {**cases, **schedules}.items():
        code, out, err = tokens(*arguments) if sentence in schedules else tokens(**arguments)
        assert (code, out) == (1, ""), sentence
        assert sentence in err
        assert err.count("\n") == 1, err
