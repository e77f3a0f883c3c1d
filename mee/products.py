"""Matrix products: in full precision, by the faster library, and where a reduced precision makes them faster.

    a precision pays on a CPU    a product takes at most 3/4 of the time that it takes in float32

This is measured, once a process. A processor without instructions for bfloat16 computes in it up to 20 times more
slowly, and what a processor is said to have is not what libraries use where the environment limits them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import thread_time
from typing import Final, cast

import torch
from torch import Tensor

from mee.errors import InputError

PAYS: Final = 0.75  # with instructions for bfloat16 it is half or less, without them at least nearly 1


@contextmanager
def full_products(device: torch.device) -> Iterator[None]:
    """Matrix products in the precision of their inputs, whatever the program has set."""
    matmul = torch.backends.cuda.matmul
    precision, reduced = torch.get_float32_matmul_precision(), matmul.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    if device.type == "cuda":
        matmul.allow_bf16_reduced_precision_reduction = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        if device.type == "cuda":
            matmul.allow_bf16_reduced_precision_reduction = reduced


def float32_product(x: Tensor, y: Tensor) -> Tensor:
    """(N, I) and (O, I) float32 -> (N, O): x y^T, with AVX-512 by oneDNN, elsewhere by torch's default.

    torch's default on x86 is MKL, which uses no AVX-512 on AMD's processors; with AVX2 it is as fast or faster.
    The choice is by the instruction set and not by time: a machine gives the same bits in every run.
    """
    on_cpu = x.device.type == y.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if not (_has_onednn() and on_cpu and x.dtype == y.dtype == torch.float32 and len(x) and len(y)):
        return x @ y.T
    rows = x.contiguous()  # a copy costs less than what oneDNN loses on columns of a wider matrix
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(rows, y, None, "none", [], ""))


@cache
def _has_onednn() -> bool:
    """Whether torch uses AVX-512, and has the one operator that passes float32 to oneDNN."""
    known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def pays(kind: torch.dtype, device: torch.device) -> bool:
    """Whether a device multiplies bfloat16, or float16, faster than float32."""
    if device.type == "cpu":
        return _pays_on_cpu(kind)
    return kind != torch.bfloat16 or torch.cuda.is_bf16_supported(including_emulation=False)


def require_pays(kind: torch.dtype, device: torch.device, given: str, instead: str) -> None:
    """Refuse a reduced precision that only costs time: `given`, of which `instead` is what to give."""
    if device.type == "cpu" and not pays(kind, device):
        name = str(kind).removeprefix("torch.")
        raise InputError(f"{given}: this processor computes in {name} no faster than in float32; give {instead}")


@cache
def _pays_on_cpu(kind: torch.dtype) -> bool:
    """By the fastest of some products in each precision, which take 50 ms together where one is emulated."""
    x = torch.ones(256, 256)
    with full_products(x.device):
        reduced, full = (min(_seconds(each) for _ in range(4)) for each in (x.to(kind), x))
    return reduced <= PAYS * full


def _seconds(x: Tensor) -> float:
    begun = thread_time()  # not the clock's: other load counts for nothing
    _ = x @ x
    return thread_time() - begun
