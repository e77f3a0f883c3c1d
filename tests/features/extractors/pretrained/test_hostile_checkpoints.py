"""A checkpoint may come from anyone: settings, safetensors and ONNX are read of it, bounded, and nothing else."""

import json
import os
import pickle
import shutil

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from features.errors import InputError
from features.extractors.pretrained.checkpoint import find_checkpoints
from features.extractors.registry import make_extractor
from tests.features.extractors.pretrained.tiny_checkpoints import change_config, save_tiny, write_json

SETTINGS, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICTURES = "preprocessor_config.json"


@pytest.fixture
def vit(tmp_path):
    """With code, pickles and an adapter beside it, which would write the file `pwned`."""
    folder = save_tiny("vit", tmp_path / "vit")
    save_tiny("vit", tmp_path / "outside", seed=1)
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'pwned')!r}).write_text('x')"

    class Harm:
        def __reduce__(self):
            return exec, (code,)

    (folder / "evil.py").write_text(code)
    for name in ("evil.bin", "pytorch_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Harm()))
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": str(tmp_path / "outside")})
    yield folder
    assert not (tmp_path / "pwned").exists()


def settings(**values):
    return lambda folder: change_config(folder, **values)


def shards(name):
    def change(folder):
        weights = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).rename(folder / "model-1.safetensors")
        total = {"total_size": 1 << 40}
        write_json(folder / INDEX, {"metadata": total, "weight_map": dict.fromkeys(weights, name)})

    return change


def filled(value, dtype=None):
    def change(folder):
        weights = load_file(folder / WEIGHTS)
        filled = {name: torch.full_like(each, value, dtype=dtype) for name, each in weights.items()}
        save_file(filled, folder / WEIGHTS, {"format": "pt"})

    return change


def put(name, target=None):
    """A link, or a pipe, in a file's place."""
    make = os.mkfifo if target is None else lambda path: os.symlink(target, path)
    return lambda folder: ((folder / name).unlink(), make(folder / name))


HOSTILE = {
    "type": settings(model_type="evil", auto_map={"AutoConfig": "evil.Evil"}),
    "quantised": settings(quantization_config={"quant_method": "gptq"}),
    "architectures": settings(architectures=5),
    **{f"hidden-{size}": settings(hidden_size=size, intermediate_size=size) for size in (10**6, 10**9)},
    **{f"layers-{size}": settings(num_hidden_layers=size) for size in (4000, 10**18, -1)},
    "heads": settings(num_attention_heads=0),
    "activation": settings(hidden_act='__import__("os").system("x")'),
    "epsilon": settings(layer_norm_eps="x"),
    "nested": lambda folder: (folder / SETTINGS).write_text("[" * 200_000),
    "settings-link": put(SETTINGS, "/etc/passwd"),
    "weights-link": put(WEIGHTS, "../outside/model.safetensors"),
    "settings-pipe": put(SETTINGS),
    "weights-pipe": put(WEIGHTS),
    "pictures-pipe": put(PICTURES),
    "pictures-nested": lambda folder: (folder / PICTURES).write_text('{"a":' * 200_000),
    **{f"shards-{each}": shards(each) for each in ("evil.bin", "../outside/" + WEIGHTS, "other.safetensors", 3)},
    "no-shards": lambda folder: ((folder / WEIGHTS).unlink(), (folder / INDEX).write_text('{"weight_map": 1}')),
    "nan": filled(torch.nan),
    "head": lambda folder: (folder / WEIGHTS).write_bytes((1 << 40).to_bytes(8, "little") + b"{}"),
    "list": lambda folder: (folder / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"[]"),
    "sparse": lambda folder: os.truncate(folder / WEIGHTS, 1 << 40),
    "integers": filled(1, torch.int64),
    "labels": settings(id2label={str(number): "x" for number in range(100_000)}),
    "label-count": settings(num_labels=10**7),
    "beyond": filled(3e38),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_checkpoint_is_refused_in_one_sentence(vit, what):
    HOSTILE[what](vit)
    with pytest.raises(InputError) as refused:
        make_extractor(f"x={vit}").load()
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 700


LARGE = [("siglip2", PICTURES, {"max_num_patches": 1 << 24}), ("whisper", PICTURES, {"feature_size": 10**6})]
LARGE += [("clap", PICTURES, {key: 10**7}) for key in ("max_length_s", "fft_window_size")]
LARGE += [("clap", SETTINGS, {"audio_config": {"depths": depths}}) for depths in (5, [1] * 100_000)]


@pytest.mark.parametrize(("name", "file", "values"), LARGE)
def test_sizes_of_input_are_bounded(tiny, tmp_path, name, file, values):
    shutil.copytree(tiny(name), tmp_path, dirs_exist_ok=True)
    write_json(tmp_path / file, {**json.loads((tmp_path / file).read_text()), **values})
    with pytest.raises(InputError):
        make_extractor(f"x={tmp_path}:output=pooled")


HARMLESS = {
    "code": settings(auto_map={"AutoModel": "evil.Evil"}, architectures=["evil.Evil"], custom_generate="evil.py"),
    "kernel": settings(_attn_implementation="evil/kernel", _attn_implementation_internal="evil/kernel"),
    "file": settings(transformers_weights="evil.bin", _name_or_path="/etc/passwd"),
    "shards": shards("model-1.safetensors"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_is_not_read_changes_nothing_but_is_in_the_revision(vit, clip_of, what):
    before = make_extractor(f"x={vit}")
    clip = clip_of(before, 2)
    (expected,) = before.extract([clip])
    HARMLESS[what](vit)
    after = make_extractor(f"x={vit}")
    np.testing.assert_array_equal(after.extract([clip])[0].rows, expected.rows)
    assert after.fingerprint.revision != before.fingerprint.revision


def test_the_index_of_shards_is_in_the_revision(vit):
    shards("model-1.safetensors")(vit)
    before = find_checkpoints(str(vit))
    (vit / INDEX).write_text((vit / INDEX).read_text() + " ")
    assert find_checkpoints(str(vit)) != before


def test_faces_read_no_file_that_another_names(tmp_path):
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="../secret")
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])] for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "net", *values, [weights])
    (tmp_path / "a.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    (tmp_path / "b").mkdir()
    os.symlink("/etc/passwd", tmp_path / "b/b.onnx")
    os.mkfifo(tmp_path / "c.onnx")
    for name, problem in (("a.onnx", "other files"), ("b", "a symbolic link"), ("c.onnx", "a pipe")):
        with pytest.raises(InputError, match=problem):
            make_extractor(f"face={tmp_path / name}+{tmp_path / 'a.onnx'}")
    assert onnx.load(tmp_path / "a.onnx", load_external_data=False).graph.initializer[0].data_location == 1
