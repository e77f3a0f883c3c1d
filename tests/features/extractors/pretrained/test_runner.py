"""Where a model's files are; weights are loaded strictly; batches are halved where a GPU is full."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from features.errors import InputError
from features.extractors.pretrained.checkpoint import find_checkpoints
from features.extractors.pretrained.runner import pick_device
from features.extractors.registry import make_extractor
from features.extractors.spec import RunConfig
from tests.features.extractors.pretrained.tiny_checkpoints import change_config, save_tiny, write_json


@pytest.fixture
def small_gpu(tiny):
    """An extractor whose model runs out of memory on more than 3 rows; and the sizes of the batches it saw."""
    extractor = make_extractor(f"x={tiny('vit')}", RunConfig(batch_size=16))
    extractor.load()
    seen = []

    def limited(model, args, options):
        seen.append(len(options["pixel_values"]))
        if seen[-1] > extractor.room:
            raise torch.OutOfMemoryError("CUDA out of memory")

    extractor.room = 3
    extractor._runner.model.register_forward_pre_hook(limited, with_kwargs=True)
    return extractor, seen


def test_a_batch_that_does_not_fit_is_halved_and_so_are_the_next(small_gpu, tiny, clip_of, caplog):
    extractor, seen = small_gpu
    clip = clip_of(extractor, 20)
    with caplog.at_level(logging.WARNING):
        (stream,) = extractor.extract([clip])
    assert seen == [16, 8, 4, 2, *[2] * 9]
    assert "x: 16 rows at a time do not fit into the GPU's memory; continuing with 8 (--batch-size)" in caplog.text
    np.testing.assert_allclose(stream.rows, make_extractor(f"x={tiny('vit')}").extract([clip])[0].rows, atol=1e-5)
    seen.clear()
    extractor.extract([clip_of(extractor, 3)])
    assert seen == [2, 1]
    extractor.room = 0
    with pytest.raises(InputError, match=r"not even one row .*--precision bf16"):
        extractor.extract([clip_of(extractor, 2)])


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device("cuda") == torch.device("cuda", 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives(tiny, clip_of):
    for name in ("vit", "clip", "siglip2", "videomae"):
        cpu = make_extractor(f"x={tiny(name)}", RunConfig(device="cpu"))
        gpu = make_extractor(f"x={tiny(name)}", RunConfig(device="cuda"))
        clip = clip_of(cpu, 8)
        np.testing.assert_allclose(gpu.extract([clip])[0].rows, cpu.extract([clip])[0].rows, atol=1e-3)


FILE = "model.safetensors"


@pytest.fixture
def vit(tmp_path):
    return save_tiny("vit", tmp_path / "vit")


def test_weights_in_shards_are_the_same(tiny, tmp_path, clip_of):
    sharded = tmp_path / "sharded"
    transformers.ViTModel.from_pretrained(tiny("vit")).save_pretrained(sharded, max_shard_size="4KB")
    (sharded / "preprocessor_config.json").write_bytes((tiny("vit") / "preprocessor_config.json").read_bytes())
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    one, other = make_extractor(f"x={tiny('vit')}"), make_extractor(f"x={sharded}")
    clip = clip_of(one, 2)
    assert (one.extract([clip])[0].rows == other.extract([clip])[0].rows).all()


def change(directory, without="", plus=None):
    weights = load_file(directory / FILE)
    kept = {key: value for key, value in weights.items() if not (without and without in key)}
    assert len(kept) < len(weights) or not without
    save_file({**kept, **(plus or {})}, directory / FILE, metadata={"format": "pt"})


def only_pickled(vit):
    weights = load_file(vit / FILE)
    (vit / FILE).unlink()
    torch.save(weights, vit / "pytorch_model.bin")


PICKLED = (
    r"has no weights in the safetensors format.*A.from_pretrained\(.*/vit\"\).save_pretrained\(\"DIRECTORY\"\)'$"
)
LARGER = r"of a larger model than its config.json says, such as layers.2"
LACKS = r"\d+ of its weights are missing, such as layers.1.attention"
OTHER = r"\d+ of its weights are not of the size .*, such as lay"
WRONG_WEIGHTS = {
    PICKLED: only_pickled,
    LACKS: lambda vit: change(vit, without="layer.1.attention"),
    LARGER: lambda vit: change_config(vit, num_hidden_layers=2),
    OTHER: lambda vit: change_config(vit, intermediate_size=48),
    "its weights cannot be loaded: .*magic": lambda vit: change_config(vit, hidden_act="magic"),
    "its weights cannot be loaded": lambda vit: (vit / FILE).write_bytes((vit / FILE).read_bytes()[:-100]),
}


@pytest.mark.parametrize("message", WRONG_WEIGHTS)
def test_weights_that_are_not_the_models_are_an_error(vit, message):
    WRONG_WEIGHTS[message](vit)
    with pytest.raises(InputError, match=message):
        make_extractor(f"x={vit}").load()


def test_weights_of_both_towers_are_compared_and_heads_do_not_matter(tmp_path, vit, capfd):
    change(vit, plus={"classifier.weight": torch.ones(2, 16), "embeddings.position_ids": torch.arange(3)})
    make_extractor(f"x={vit}").load()
    assert capfd.readouterr() == ("", "")
    clip = save_tiny("clip", tmp_path / "clip")
    vision = json.loads((clip / "config.json").read_text())["vision_config"]
    change_config(clip, vision_config={**vision, "num_hidden_layers": 2})
    for output in ("projected", "class"):
        with pytest.raises(InputError, match=r"of a larger model than its config.json says"):
            make_extractor(f"x={clip}:output={output}").load()


COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[4]
FIND = "import sys; from features.extractors.registry import resolve; print(resolve(sys.argv[1]).checkpoints[0])"
MAKE = """
import dataclasses, json, sys
from features.extractors.registry import make_extractor
made = make_extractor(sys.argv[1])
heavy = [name for name in ("torch", "transformers", "huggingface_hub") if name in sys.modules]
print(json.dumps({**dataclasses.asdict(made.fingerprint), "heavy": heavy, "shared": made.shared}))
"""


def python(code: str, *arguments: str, **environment: str) -> tuple[dict, str]:
    """Run a fresh interpreter, whose hub client reads this environment: its output, its last line of errors."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    return json.loads(run.stdout or "{}"), run.stderr.strip().rpartition("\n")[2]


@pytest.fixture
def hub_cache(tmp_path, tiny):
    """The hub client's cache as it is after owner/seer was downloaded, with tag v1 on the same commit."""
    repository = tmp_path / "hub" / "models--owner--seer"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in tiny("vit").iterdir():
        (repository / "blobs" / file.name).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    (repository / "refs").mkdir()
    for name in ("main", "v1"):
        (repository / "refs" / name).write_text(COMMIT)
    return {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}


def test_a_name_on_the_hub_is_found_in_its_cache_with_its_commit(hub_cache):
    keys = ("model", "revision", "dim", "shared", "heavy")
    for word in ("x=owner/seer", "x=owner/seer@v1", f"x=owner/seer@{COMMIT}"):
        made, error = python(MAKE, word, **hub_cache)
        # no weights are read, torch is not imported
        assert [made.get(key) for key in keys] == ["owner/seer", COMMIT, 16, True, ["huggingface_hub"]], error


def test_building_an_extractor_from_a_directory_imports_nothing_heavy(tiny):
    for name in ("vit", "clip", "siglip2", "videomae", "vjepa2", "xclip", "ast", "clap", "whisper"):
        made, error = python(MAKE, f"x={tiny(name)}")
        assert made.get("heavy") == [], error


UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}


@pytest.mark.parametrize(
    ("word", "environment", "message"),
    [
        ("x=owner/other", {}, "'owner/other' is not available: it is not in the hub's cache, and HF_HUB_OFFLINE"),
        ("x=owner/seer@v2", {}, "is not available: it is not in the hub's cache"),
        ("x=o:w:n", {}, "no pretrained model 'o:w:n': it is no directory, and no name on the hub"),
        ("x=-owner-/seer", {}, "it is no directory, and no name on the hub"),
        ("x=a/b", UNREACHABLE, "'a/b' is not available: it is no directory, not in the hub's cache, and the hub"),
    ],
)
def test_a_model_that_is_not_available_is_an_error_in_one_sentence(hub_cache, word, environment, message):
    assert message in python(FIND, word, **{**hub_cache, **environment})[1]


def test_files_are_identified_by_their_content(tmp_path):
    def found(path):
        return find_checkpoints(str(path))[0]

    first, again = (save_tiny("vit", tmp_path / name / "seer") for name in "ab")
    plain = found(first)
    assert (plain.path, plain.model, plain.revision[:7]) == (first, "seer", "sha256:")
    assert found(again).revision == plain.revision
    assert found(os.path.relpath(first)).path.samefile(first)
    (first / "README.md").write_text("what is beside the model does not count")
    (first / "tokenizer.json").write_text("{}")
    assert found(first).revision == plain.revision
    changes = [
        lambda: change_config(again, layer_norm_eps=1e-3),
        lambda: write_json(again / "preprocessor_config.json", {}),
        lambda: save_tiny("vit", again, seed=1),
    ]
    assert len({plain.revision, *((change() and None) or found(again).revision for change in changes)}) == 4
    file = tmp_path / "yunet.onnx"
    file.write_bytes(b"1")
    one = found(file)
    assert (one.model, one.path) == ("yunet.onnx", file)
    file.write_bytes(b"22")
    assert found(file).revision != one.revision


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "yunet.onnx", "."])
def test_paths_are_not_searched_on_the_hub_and_have_no_revisions(source):
    local = "is on this machine, which has no revisions: leave out '@main'"
    with pytest.raises(InputError, match=local if source == "." else "there is no such directory or file"):
        find_checkpoints(source, "main" if source == "." else None)
