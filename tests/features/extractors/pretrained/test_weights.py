"""Weights are loaded strictly, and from safetensors only."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from features.errors import InputError
from features.extractors.registry import make_extractor

FILE = "model.safetensors"


def load(directory):
    extractor = make_extractor(f"x={directory}")
    extractor.load()
    return extractor


@pytest.fixture
def vit(tiny_checkpoints, tmp_path):
    return tiny_checkpoints.save_tiny("vit", tmp_path / "vit")


def test_weights_in_shards_are_the_same(tiny, tiny_checkpoints, tmp_path, clip_of):
    import transformers

    sharded = tmp_path / "sharded"
    transformers.ViTModel.from_pretrained(tiny("vit")).save_pretrained(sharded, max_shard_size="4KB")
    (sharded / "preprocessor_config.json").write_bytes((tiny("vit") / "preprocessor_config.json").read_bytes())
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    one, other = make_extractor(f"x={tiny('vit')}"), make_extractor(f"x={sharded}")
    clip = clip_of(one, 2)
    assert (one.extract([clip])[0].rows == other.extract([clip])[0].rows).all()


def test_pickles_are_never_read(vit):
    weights = load_file(vit / FILE)
    (vit / FILE).unlink()
    torch.save(weights, vit / "pytorch_model.bin")
    with pytest.raises(InputError) as raised:
        load(vit)
    assert "has no weights in the safetensors format" in str(raised.value)
    assert f"A.from_pretrained('{vit}').save_pretrained('DIRECTORY')" in str(raised.value)


def change(directory, without="", plus=None):
    weights = load_file(directory / FILE)
    kept = {key: value for key, value in weights.items() if not (without and without in key)}
    assert len(kept) < len(weights) or not without
    save_file({**kept, **(plus or {})}, directory / FILE, metadata={"format": "pt"})


def test_weights_that_lack_are_named(vit):
    change(vit, without="layer.1.attention")
    with pytest.raises(InputError, match=r"its weights are not whole: \d+ lack, such as layers.1.attention"):
        load(vit)


def test_weights_left_over_are_named(vit, tiny_checkpoints):
    tiny_checkpoints.change_config(vit, num_hidden_layers=2)
    with pytest.raises(
        InputError, match=r"of a larger model than its config.json says: \d+ are left, such as layers.2"
    ):
        load(vit)


def test_of_a_whole_model_too(tiny_checkpoints, tmp_path):
    clip = tiny_checkpoints.save_tiny("clip", tmp_path / "clip")
    vision = json.loads((clip / "config.json").read_text())["vision_config"]
    tiny_checkpoints.change_config(clip, vision_config={**vision, "num_hidden_layers": 2})
    for output in ("projected", "class"):
        with pytest.raises(InputError, match=r"of a larger model than its config.json says"):
            make_extractor(f"x={clip}:output={output}").load()


def test_weights_of_another_size_are_named(vit, tiny_checkpoints):
    tiny_checkpoints.change_config(vit, intermediate_size=48)
    with pytest.raises(
        InputError, match=r"\d+ of its weights are not of the size that its config.json says, such as lay"
    ):
        load(vit)


def test_heads_and_old_buffers_do_not_matter(vit):
    change(vit, plus={"classifier.weight": torch.ones(2, 16), "embeddings.position_ids": torch.arange(3)})
    load(vit)


def test_damaged_weights_are_said_in_a_sentence(vit):
    (vit / FILE).write_bytes((vit / FILE).read_bytes()[:-100])
    with pytest.raises(InputError, match="its weights cannot be loaded"):
        load(vit)


def test_a_config_that_transformers_refuses_is_said_in_a_sentence(vit, tiny_checkpoints):
    tiny_checkpoints.change_config(vit, hidden_act="magic")
    with pytest.raises(InputError, match=r"its weights cannot be loaded: .*magic"):
        load(vit)


def test_nothing_is_written_to_the_screen(vit, capfd):
    change(vit, plus={"classifier.weight": torch.ones(2, 16)})
    load(vit)
    assert capfd.readouterr() == ("", "")
