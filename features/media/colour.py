"""From HDR pictures to what an SDR screen shows of them, as far as it is no brighter than paper white.

    PQ    light = EOTF(signal) 10000 / 203                    (SMPTE ST 2084)
    HLG   light = (OETF^-1(signal))^1.2 1000 / 203          (ITU-R BT.2100, channel by channel, as zimg does)
    SDR   = sRGB(clip(M light, 0, 1)),      M from the picture's primaries to those of BT.709

203 cd/m2 is reference white (ITU-R BT.2408): what is darker keeps its look, what is brighter becomes white.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18  # transfer characteristics by ITU-T H.273
TRANSFERS = {PQ: "PQ", HLG: "HLG"}
WHITE, HLG_PEAK, PQ_PEAK = 203.0, 1000.0, 10_000.0  # cd/m2
BT709, BT2020 = 1, 9
# x and y of red, green and blue, by the primaries of ITU-T H.273; white is D65
_PRIMARIES = {
    BT709: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    BT2020: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_D65 = np.array([0.3127, 0.3290, 0.3583]) / 0.3290
_LEVELS = np.linspace(0, 1, 1 << 16)


def to_sdr(pixels: NDArray[np.uint16], transfer: int, primaries: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB signal of 16 bits, full range -> (H, W, 3) sRGB of 8 bits.

    Args:
        pixels: the signal.
        transfer: PQ or HLG.
        primaries: by H.273; BT.2020 where they are unknown.
    """
    to_xyz = _to_xyz(primaries if primaries in _PRIMARIES else BT2020)
    light = _light(transfer)[pixels] @ (np.linalg.inv(_to_xyz(BT709)) @ to_xyz).T.astype(np.float32)
    sdr: NDArray[np.uint8] = _srgb()[np.rint(np.clip(light, 0, 1) * (len(_LEVELS) - 1)).astype(np.uint16)]
    return sdr


@lru_cache
def _light(transfer: int) -> NDArray[np.float32]:
    """(65536,) from signal to light, of which 1 is white."""
    if transfer == PQ:
        root = _LEVELS ** (32 / 2523)
        ratio = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
        return np.asarray(ratio ** (16384 / 2610) * PQ_PEAK / WHITE, np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(_LEVELS <= 0.5, _LEVELS**2 / 3, (np.exp((_LEVELS - c) / a) + b) / 12)
    return np.asarray(scene**1.2 * HLG_PEAK / WHITE, np.float32)


@lru_cache
def _srgb() -> NDArray[np.uint8]:
    """(65536,) from light to signal."""
    curve = np.where(_LEVELS <= 0.0031308, 12.92 * _LEVELS, 1.055 * _LEVELS ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * curve), np.uint8)


@lru_cache
def _to_xyz(primaries: int) -> NDArray[np.float32]:
    """(3, 3) from linear RGB to CIE XYZ."""
    x, y = np.array(_PRIMARIES[primaries]).reshape(3, 2).T
    columns = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    return np.asarray(columns * np.linalg.solve(columns, _D65), np.float32)
