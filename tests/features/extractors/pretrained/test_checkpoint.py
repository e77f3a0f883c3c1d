"""Where a pretrained model's files are: on the hub, in its cache, in a directory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from features.errors import InputError
from features.extractors.pretrained.checkpoint import find_checkpoints
from tests.features.extractors.pretrained.tiny_checkpoints import change_config, save_tiny, write_json

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
    for file in tiny("vit").iterdir():
        (snapshot / file.name).symlink_to(file)
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
    words = "which has no revisions: leave out '@main'" if source == "." else "there is no such directory or file"
    with pytest.raises(InputError, match=words):
        find_checkpoints(source, "main" if source == "." else None)
