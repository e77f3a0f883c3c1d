"""Matrix products in the precision that they are asked for, whatever else the program lets torch do.

Margins (mee/ranking/margin.py, index/rounding.py) are those of float32, or of bfloat16 with sums in float32: not
of TF32, of autocast, or of sums that a GPU rounds to bfloat16 on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_products(device: torch.device) -> Iterator[None]:
    """For as long as it lasts; what was set before is set again afterwards."""
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
