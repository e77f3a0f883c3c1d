"""Which part of a pretrained language model learns.

0   nothing        n   its last n layers, and the norm after them        -1   all of it
"""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from mee.errors import InputError
from mee.text_config import ALL_LAYERS


def tuned_part(model: PreTrainedModel, layers: int) -> tuple[nn.Module, ...]:
    """The modules that learn; everything else gets no gradient.

    Raises:
        InputError: it has fewer layers, or none that can be told apart.
    """
    model.requires_grad_(False)
    part: tuple[nn.Module, ...] = ()
    if layers == ALL_LAYERS:
        part = (model,)
    elif layers:
        part = _last(model, layers)
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
    raise InputError(
        f"the layers of a text model of type {model.config.model_type} cannot be told apart; tuned-layers must be "
        "0 (none) or -1 (all)"
    )


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
