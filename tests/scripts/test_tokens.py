"""`mee tokens`: the counts are the schedule's, the picture shows the groups, and bad input is one sentence."""

import json

import cv2
import numpy as np
import pytest
import torch
import transformers as hub

from scripts.token_pictures import EDGE, chosen_layers, draw_tokens, is_ours, merged_picture
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
    assert is_ours(tmp_path / "out.png")
    assert cv2.imread(str(tmp_path / "out.png")).shape[1] > 1000
    assert f"drawn: {tmp_path / 'out.png'}" in err


def test_the_table_has_a_row_a_layer(tokens):
    code, out, _ = tokens("--merge", "10")
    assert code == 0
    title, header, *rows = [line.split() for line in out.splitlines()]
    assert title == ["half.png:", "tokens", "of", "vit,", "merge", "10"]
    assert header == ["layer", "tokens", "merged"]
    assert [row[:3] for row in rows] == [["0", "65", "0"], ["1", "55", "10"], ["2", "45", "10"], ["3", "35", "10"]]


def test_ours_is_drawn_anew_and_others_files_are_left_alone(tokens, tmp_path, picture):
    assert tokens("--merge", "10")[0] == tokens("--merge", "5")[0] == 0
    before = picture.read_bytes()
    code, _, err = tokens(out=picture)
    assert (code, picture.read_bytes()) == (1, before)
    assert f"{picture} is there, and mee tokens did not draw it; name another file with --out" in err
    assert "is a directory; name a file, such as tokens.png" in tokens(out=tmp_path)[2]


def test_bad_input_is_one_sentence(tokens, models, tmp_path):
    (tmp_path / "song.mp3").write_bytes(b"no picture at all")
    (tmp_path / "empty.png").touch()
    cases = {
        "cannot be read as a picture: there is no such file": {"image": tmp_path / "nothing.png"},
        "cannot be read as a picture: not": {"image": tmp_path / "song.mp3"},
        "cannot be read as a picture: the file is empty": {"image": tmp_path / "empty.png"},
        "there is no such directory": {"model": tmp_path / "nowhere" / "deep"},
        "does not read single pictures; name a vision transformer": {"model": models / "videomae"},
        "of type dinov3_vit, cannot be merged; name another model": {"model": models / "dinov3"},
        "cannot be written": {"out": tmp_path / "song.mp3" / "tokens.png"},
    }
    for sentence, arguments in cases.items():
        code, out, err = tokens(**arguments)
        assert (code, out) == (1, ""), sentence
        assert sentence in err
        assert err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("merge", "sentence"),
    [
        ("eight", "--merge: merge 'eight' is neither a number of tokens a layer"),
        ("1.5", "--merge: merge '1.5' is neither"),
        ("0", "--merge 0 merges nothing; say how many tokens a layer"),
    ],
)
def test_a_malformed_schedule_is_one_sentence(tokens, merge, sentence):
    code, out, err = tokens("--merge", merge)
    assert (code, out) == (1, "")
    assert sentence in err


def test_a_token_has_the_mean_colour_of_its_patches_and_a_lone_patch_the_picture():
    picture = np.random.default_rng(1).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    groups = np.array([[7, 2, 7], [3, 3, 5]])  # patches of 2 x 2; those of token 7 do not touch
    drawn = merged_picture(picture, groups)
    times = drawn.shape[0] // 4
    assert drawn.shape == (4 * times, 6 * times, 3)
    centre = drawn[times // 2 :: times, times // 2 :: times]  # a pixel of each of the picture's
    pair = np.rint(np.concatenate([picture[:2, :2], picture[:2, 4:]], 1).reshape(-1, 3).mean(0))
    assert (centre[:2, :2] == pair).all()
    assert (centre[:2, 4:] == pair).all()
    assert (centre[2:, :4] == np.rint(picture[2:, :4].reshape(-1, 3).mean(0))).all()
    assert (centre[:2, 2:4] == picture[:2, 2:4]).all()
    assert (centre[2:, 4:] == picture[2:, 4:]).all()


def test_edges_stand_only_between_tokens():
    drawn = merged_picture(np.zeros((4, 6, 3), np.uint8), np.array([[7, 2, 7], [3, 3, 5]]))
    times = drawn.shape[0] // 4
    edge = (drawn == EDGE).all(-1)
    middle = times  # of a patch, which is 2 wide
    assert edge[2 * times, middle]
    assert edge[middle, 2 * times]
    assert not edge[3 * times, 2 * times]  # between two patches of token 3
    assert edge[3 * times, 4 * times]
    assert not edge[0].all()
    assert not merged_picture(np.zeros((4, 6, 3), np.uint8), np.zeros((2, 3), int)).any()


@pytest.mark.parametrize(("layers", "shown"), [(1, []), (2, [1]), (3, [1, 2]), (12, [2, 4, 6, 8, 10])])
def test_the_strip_spreads_over_the_layers(layers, shown):
    assert chosen_layers(layers) == shown


def test_a_model_of_one_layer_and_a_title_of_any_letters_are_drawn():
    groups = [np.arange(4).reshape(2, 2), np.zeros((2, 2), int)]
    png = draw_tokens(np.zeros((8, 8, 3), np.uint8), groups, "a $ b_{ 雪 " * 40)
    assert cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) is not None
