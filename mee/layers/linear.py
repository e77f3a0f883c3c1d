"""A linear map whose matrix products run in oneDNN where that is possible: float32 on a CPU.

    y = x W^T + b        dL/dx = g W        dL/dW = g^T x        dL/db = sum of g's rows

torch takes float32 products to MKL, which leaves half of the vector units of AMD's processors idle; oneDNN, which
torch carries too, does not. Elsewhere (other devices, other types, mixed precision, a torch without that operator)
torch's own path is taken. The two differ by rounding alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Linear(nn.Linear):
    """(N, in_features) -> (N, out_features): `nn.Linear` in all but speed."""

    def forward(self, input: Tensor) -> Tensor:
        if not _suits_onednn(input, self.weight):
            return F.linear(input, self.weight, self.bias)
        mapped: Tensor = _OneDNNLinear.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return mapped


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _product(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        for_input, for_weight, for_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.T) if for_input else None,
            _product(gradient.T, input.T) if for_weight else None,
            gradient.sum(0) if for_bias else None,
        )


def product(x: Tensor, y: Tensor) -> Tensor:
    """(N, I) and (O, I) -> (N, O): x y^T, without gradients."""
    return _product(x, y) if _suits_onednn(x, y) and len(y) else x @ y.T


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, I) and (O, I) -> (N, O): x W^T + b."""
    mapped: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return mapped


def _suits_onednn(input: Tensor, weight: Tensor) -> bool:
    return (
        input.device.type == weight.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and input.ndim == 2
        and len(input) > 0
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
