"""Where a pretrained model's files are: on the hub, in its cache, in a directory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from features.errors import InputError
from features.extractors.pretrained.checkpoint import find_checkpoints

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FIND = "import sys; from features.extractors.registry import resolve; print(resolve(sys.argv[1]).checkpoints[0])"
MAKE = """
import dataclasses, json, sys
from features.extractors.registry import make_extractor
made = make_extractor(sys.argv[1])
heavy = [name for name in ("torch", "transformers", "huggingface_hub") if name in sys.modules]
print(json.dumps({**dataclasses.asdict(made.fingerprint), "heavy": heavy, "shared": made.shared}))
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a fresh interpreter, whose hub client reads its environment anew."""
    root = Path(__file__).parents[4]
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


def said(run: subprocess.CompletedProcess) -> str:
    """The last line of what it wrote on stderr."""
    return run.stderr.strip().splitlines()[-1]


@pytest.fixture
def hub_cache(tmp_path, tiny):
    """The hub client's cache as it is after owner/seer was downloaded, with tag v1 on the same commit."""
    repository = tmp_path / "hub" / "models--owner--seer"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in tiny("vit").iterdir():
        (snapshot / file.name).symlink_to(file)
    refs = repository / "refs"
    refs.mkdir()
    for name in ("main", "v1"):
        (refs / name).write_text(COMMIT)
    return {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}


def test_a_name_on_the_hub_is_found_in_its_cache_with_its_commit(hub_cache):
    for word in ("x=owner/seer", "x=owner/seer@v1", f"x=owner/seer@{COMMIT}"):
        run = python(MAKE, word, **hub_cache)
        assert run.returncode == 0, run.stderr
        made = json.loads(run.stdout)
        assert (made["model"], made["revision"]) == ("owner/seer", COMMIT)
        assert made["dim"] == 16
        assert made["shared"]
        assert made["heavy"] == ["huggingface_hub"]  # no weights are read, torch is not imported


def test_building_an_extractor_from_a_directory_imports_nothing_heavy(tiny):
    for name in ("vit", "clip", "siglip2", "videomae", "vjepa2", "xclip", "ast", "clap", "whisper"):
        run = python(MAKE, f"x={tiny(name)}")
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout)["heavy"] == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("x=owner/other", "'owner/other' is not available: it is not in the hub's cache, and HF_HUB_OFFLINE"),
        ("x=owner/seer@v2", "is not available: it is not in the hub's cache"),
        ("x=o:w:n", "no pretrained model 'o:w:n': it is no directory, and no name on the hub"),
        ("x=-owner-/seer", "it is no directory, and no name on the hub"),
    ],
)
def test_what_is_not_in_the_cache_is_said_in_a_sentence(hub_cache, word, message):
    assert message in said(python(FIND, word, **hub_cache))


def test_a_hub_out_of_reach_is_said_in_a_sentence(tmp_path):
    away = {"HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    run = python(FIND, "x=owner/seer", **away)
    assert "'owner/seer' is not available: it is no directory, not in the hub's cache, and the hub" in said(run)


def test_a_directory_is_known_by_its_content(tiny_checkpoints, tmp_path):
    first = tiny_checkpoints.save_tiny("vit", tmp_path / "a" / "seer")
    again = tiny_checkpoints.save_tiny("vit", tmp_path / "b" / "seer")
    found = find_checkpoints(str(first))[0]
    assert found.path == first
    assert found.model == "seer"
    assert found.revision.startswith("sha256:")
    assert find_checkpoints(str(again))[0].revision == found.revision
    assert find_checkpoints(os.path.relpath(first))[0].path.samefile(first)

    (first / "README.md").write_text("what is beside the model does not count")
    (first / "tokenizer.json").write_text("{}")
    assert find_checkpoints(str(first))[0].revision == found.revision
    seen = {found.revision}
    tiny_checkpoints.change_config(again, layer_norm_eps=1e-3)
    seen.add(find_checkpoints(str(again))[0].revision)
    tiny_checkpoints.write_json(again / "preprocessor_config.json", {})
    seen.add(find_checkpoints(str(again))[0].revision)
    tiny_checkpoints.save_tiny("vit", again, seed=1)
    seen.add(find_checkpoints(str(again))[0].revision)
    assert len(seen) == 4


def test_a_file_is_known_by_its_content(tmp_path):
    file = tmp_path / "yunet.onnx"
    file.write_bytes(b"1")
    first = find_checkpoints(str(file))[0]
    assert (first.model, first.path) == ("yunet.onnx", file)
    file.write_bytes(b"22")
    assert find_checkpoints(str(file))[0].revision != first.revision


def test_files_on_this_machine_have_no_revisions(tmp_path):
    with pytest.raises(InputError, match="is on this machine, which has no revisions: leave out '@main'"):
        find_checkpoints(str(tmp_path), "main")


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "yunet.onnx"])
def test_a_path_that_does_not_exist_is_not_looked_for_on_the_hub(source):
    with pytest.raises(InputError, match="there is no such directory or file"):
        find_checkpoints(source)
