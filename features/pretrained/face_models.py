"""The two ONNX files that find and describe faces, and what shows that they are the right ones.

    role      network  inputs               outputs                          file in OpenCV's hub repository
    detector  YuNet    (1, 3, H, W) BGR     cls, obj, bbox, kps at strides   face_detection_yunet_*.onnx
                                            8, 16 and 32: twelve
    embedder  SFace    (1, 3, 112, 112)     one, (1, 128)                    face_recognition_sface_*.onnx

YuNet: Wu, Peng, Yu, *YuNet: A Tiny Millisecond-level Face Detector*, Machine Intelligence Research 2023. SFace:
Zhong et al., *SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition*, TIP 2021. In a folder that
holds several versions the newest by name counts, and quantised ones (int8) only when asked for by their own path.
OpenCV 4.12 to 5.0 run fixed-size and any-size exports of YuNet alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.extractor_spec import Checkpoint

DETECTOR, EMBEDDER = "detector", "embedder"
FACE_SIDE = 112  # pixels of an aligned face
FACE_DIM = 128
_OUTPUTS = frozenset(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32))
_NETWORKS = {
    DETECTOR: "YuNet (opencv/face_detection_yunet on the hub)",
    EMBEDDER: "SFace (opencv/face_recognition_sface on the hub)",
}
_MOST_FACES = 5000  # candidates that enter the suppression of overlapping boxes
_LFS = b"version https://git-lfs"


@final
@dataclass(frozen=True)
class FaceModel:
    """One ONNX file, read."""

    model: str  # name on the hub, or of the local folder or file
    path: Path
    content: bytes

    @property
    def digest(self) -> str:
        """What stands for the weights in a fingerprint, wherever they came from."""
        return "sha256:" + hashlib.sha256(self.content).hexdigest()


def read_face_model(checkpoint: Checkpoint, role: str) -> FaceModel:
    """Read the ONNX file of one role, "detector" or "embedder", from a file or a folder.

    Raises:
        InputError: there is no such file, or it is a Git LFS pointer.
    """
    path = _choose(checkpoint, role) if checkpoint.path.is_dir() else checkpoint.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the face {role} cannot be read: {error.strerror}") from error
    if content.startswith(_LFS):
        raise InputError(f"{path} is a Git LFS pointer, not the face {role} itself: run `git lfs pull` there")
    return FaceModel(checkpoint.model, path, content)


def _choose(checkpoint: Checkpoint, role: str) -> Path:
    found = sorted(path for path in checkpoint.path.glob("*.onnx") if "int8" not in path.name)
    if not found:
        raise InputError(
            f"{checkpoint.path} holds no .onnx file without int8 in its name; as face {role} give "
            f"{_NETWORKS[role]}, its folder, or its .onnx file"
        )
    return found[-1]


def open_detector(model: FaceModel, score: float, overlap: float) -> Any:
    """The detector as a cv2.FaceDetectorYN.

    Args:
        model: a YuNet.
        score: faces below this score are dropped, in [0, 1].
        overlap: of two boxes with a larger intersection over union, the one of lower score is dropped.

    Raises:
        InputError: the file is no ONNX model, or not YuNet.
    """
    blank = np.zeros((64, 96, 3), np.uint8)
    with _quiet():
        names = _output_names(model, DETECTOR)
        if not names >= _OUTPUTS:
            raise InputError(_wrong(model, DETECTOR, names))
        try:
            buffer = np.frombuffer(model.content, np.uint8)
            opened = cv2.FaceDetectorYN.create(
                "onnx", buffer, np.empty(0, np.uint8), (96, 64), score, overlap, _MOST_FACES
            )
            opened.detect(blank)
        except cv2.error as error:
            raise InputError(f"{model.path}: OpenCV {cv2.__version__} cannot run it: {_reason(error)}") from error
    return opened


def open_embedder(model: FaceModel) -> Any:
    """The embedder as a cv2.FaceRecognizerSF.

    Raises:
        InputError: the file is no ONNX model, or not SFace.
    """
    blank = np.zeros((FACE_SIDE, FACE_SIDE, 3), np.uint8)
    with _quiet():
        names = _output_names(model, EMBEDDER)
        if len(names) != 1:
            raise InputError(_wrong(model, EMBEDDER, names))
        try:
            opened = cv2.FaceRecognizerSF.create(
                "onnx", np.frombuffer(model.content, np.uint8), np.empty(0, np.uint8)
            )
            shape = opened.feature(blank).shape
        except cv2.error as error:
            raise InputError(f"{model.path}: OpenCV {cv2.__version__} cannot run it: {_reason(error)}") from error
    if shape != (1, FACE_DIM):
        raise InputError(
            f"{model.path} gives {shape} numbers for an aligned face, SFace gives (1, {FACE_DIM}); "
            f"as face embedder give {_NETWORKS[EMBEDDER]}"
        )
    return opened


def _output_names(model: FaceModel, role: str) -> frozenset[str]:
    buffer: NDArray[np.uint8] = np.frombuffer(model.content, np.uint8)
    try:
        return frozenset(cv2.dnn.readNetFromONNX(buffer).getUnconnectedOutLayersNames())
    except cv2.error as error:
        raise InputError(
            f"{model.path} is not an ONNX model that OpenCV {cv2.__version__} can read, or not all of one; "
            f"as face {role} give {_NETWORKS[role]}"
        ) from error


def _wrong(model: FaceModel, role: str, names: frozenset[str]) -> str:
    """The sentence for a network with the wrong outputs."""
    if role == EMBEDDER and names >= _OUTPUTS:
        return f"{model.path} finds faces and does not describe them; the detector comes first: DETECTOR+EMBEDDER"
    if role == DETECTOR and len(names) == 1:
        hint = "it may be the embedder: the detector comes first, DETECTOR+EMBEDDER"
    elif role == DETECTOR and names >= {"loc", "conf", "iou"}:
        hint = (
            "it is a YuNet from before 2023, which OpenCV no longer runs: take face_detection_yunet_2023mar.onnx"
        )
    else:
        hint = f"as face {role} give {_NETWORKS[role]}"
    return f"{model.path} is not the network of a face {role} (outputs {', '.join(sorted(names))}); {hint}"


def _reason(error: cv2.error) -> str:
    """What OpenCV says, without its file and line."""
    return str(error).strip().splitlines()[0].rpartition("error: ")[2]


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV writes to stderr while it opens networks; what goes wrong is raised, and said once."""
    logs: Any = getattr(cv2.utils, "logging", cv2)  # cv2.setLogLevel up to 4.12
    before = logs.getLogLevel()
    logs.setLogLevel(0)
    try:
        yield
    finally:
        logs.setLogLevel(before)
