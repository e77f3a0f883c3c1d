"""Faces by two pretrained networks: one row a face a sampled frame.

    row = s / |s|,   s = SFace(the face, moved and turned until eyes, nose and mouth are where SFace has them)

    role      network  inputs               outputs                          file in OpenCV's hub repository
    detector  YuNet    (1, 3, H, W) BGR     cls, obj, bbox, kps at strides   face_detection_yunet_*.onnx
                                            8, 16 and 32: twelve
    embedder  SFace    (1, 3, 112, 112)     one, (1, 128)                    face_recognition_sface_*.onnx

YuNet gives every face's box, five landmarks and score; a face counts from ``score`` on, and of two that overlap by
more than ``overlap`` (intersection over union) the better counts. The similarity transform that brings the
landmarks to their places in a 112 x 112 picture is ``alignCrop`` of OpenCV. Inner products of rows are cosines:
SFace's authors call two faces one person from 0.363 on.

The word on the command line is ``face=DETECTOR+EMBEDDER``, each a name on the hub, a folder or an .onnx file:
``face=opencv/face_detection_yunet+opencv/face_recognition_sface:score=0.7,size=720``. In a folder that holds
several versions the last by name is used, and quantised ones (int8) only by their own path. OpenCV
4.12 to 5.0 run fixed-size and any-size exports of YuNet alike.

YuNet: Wu, Peng, Yu, *YuNet: A Tiny Millisecond-level Face Detector*, Machine Intelligence Research 2023. SFace:
Zhong et al., *SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition*, TIP 2021.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.extractors.base import Extractor, Stream
from features.extractors.spec import Checkpoint, ExtractorSpec, check_options, positive_option
from features.files import entry, read_file
from features.media import Clip, FrameNeed, Frames

DETECTOR, EMBEDDER = "detector", "embedder"
FACE_SIDE = 112  # pixels of an aligned face
FACE_DIM = 128
_OUTPUTS = frozenset(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32))
_NETWORKS = {
    DETECTOR: "YuNet (opencv/face_detection_yunet on the hub)",
    EMBEDDER: "SFace (opencv/face_recognition_sface on the hub)",
}
_MOST_FACES = 5000  # candidates that enter the suppression of overlapping boxes
_MOST_BYTES = 256 << 20  # of a file; SFace has 37 MiB
_OUTSIDE = b"\x0a\x08location"  # the key of the name of another file, in ONNX's encoding
_LFS = b"version https://git-lfs"


@final
class FaceModel:
    """One ONNX file, read and checked for its role."""

    def __init__(self, checkpoint: Checkpoint, role: str) -> None:
        """Read the file of a role, "detector" or "embedder", itself or in a folder."""
        self.name = checkpoint.model  # on the hub, or of the local folder or file
        self.role = role
        self.path = _newest(checkpoint.path, role) if checkpoint.path.is_dir() else checkpoint.path
        try:
            content = read_file(self.path, _MOST_BYTES, follow=True)
        except OSError as error:
            raise InputError(f"{self.path}: the face {role} cannot be read: {error.strerror}") from error
        if content.startswith(_LFS):
            raise InputError(
                f"{self.path} is a Git LFS pointer, not the face {role} itself: run `git lfs pull` there"
            )
        if _OUTSIDE in content:
            raise InputError(
                f"{self.path} keeps weights in other files, which are not read; give one whole .onnx file"
            )
        self.digest = "sha256:" + hashlib.sha256(content).hexdigest()  # for fingerprints
        self._buffer = np.frombuffer(content, np.uint8)

    def open(self, create: Callable[..., Any], *settings: Any) -> Any:
        """The network as OpenCV's class for its role, which `create` makes of a buffer."""
        with _quiet():
            try:
                names = frozenset(cv2.dnn.readNetFromONNX(self._buffer).getUnconnectedOutLayersNames())
            except cv2.error as error:
                raise InputError(
                    f"{self.path} is not an ONNX model that OpenCV {cv2.__version__} can read, or not a complete "
                    f"one; as face {self.role} give {_NETWORKS[self.role]}"
                ) from error
            if not (names >= _OUTPUTS if self.role == DETECTOR else len(names) == 1):
                raise InputError(self._wrong(names))
            return self.run(lambda: create("onnx", self._buffer, np.empty(0, np.uint8), *settings))

    def run(self, call: Callable[[], Any]) -> Any:
        """What OpenCV gives; its error in one sentence."""
        try:
            with _quiet():
                return call()
        except cv2.error as error:
            reason = str(error).strip().splitlines()[0].rpartition("error: ")[2]  # without its file and line
            raise InputError(f"{self.path}: OpenCV {cv2.__version__} cannot run it: {reason}") from error

    def _wrong(self, names: frozenset[str]) -> str:
        """The message for a network with the wrong outputs."""
        if self.role == EMBEDDER and names >= _OUTPUTS:
            return (
                f"{self.path} finds faces and does not describe them; the detector comes first: DETECTOR+EMBEDDER"
            )
        hint = f"as face {self.role} give {_NETWORKS[self.role]}"
        if self.role == DETECTOR and len(names) == 1:
            hint = "it may be the embedder: the detector comes first, DETECTOR+EMBEDDER"
        elif self.role == DETECTOR and names >= {"loc", "conf", "iou"}:
            hint = "it is a YuNet from before 2023, which OpenCV no longer runs: use face_detection_yunet_2023mar"
        return f"{self.path} is not the network of a face {self.role} (outputs {', '.join(sorted(names))}); {hint}"


def _newest(folder: Path, role: str) -> Path:
    found = sorted(name for name in os.listdir(folder) if name.endswith(".onnx") and "int8" not in name)
    if not found:
        raise InputError(
            f"{folder} holds no .onnx file without int8 in its name; as face {role} give {_NETWORKS[role]}, its "
            "folder, or its .onnx file"
        )
    return entry(folder, found[-1])


def open_detector(model: FaceModel, score: float, overlap: float) -> Any:
    """The detector as a cv2.FaceDetectorYN; ``score`` and ``overlap``, in [0, 1], are the module's."""
    opened = model.open(cv2.FaceDetectorYN.create, (96, 64), score, overlap, _MOST_FACES)
    model.run(lambda: opened.detect(np.zeros((64, 96, 3), np.uint8)))
    return opened


def open_embedder(model: FaceModel) -> Any:
    """The embedder as a cv2.FaceRecognizerSF."""
    opened = model.open(cv2.FaceRecognizerSF.create)
    shape = model.run(lambda: opened.feature(np.zeros((FACE_SIDE, FACE_SIDE, 3), np.uint8)).shape)
    if shape != (1, FACE_DIM):
        raise InputError(
            f"{model.path} gives {shape} numbers for an aligned face, SFace gives (1, {FACE_DIM}); "
            f"as face embedder give {_NETWORKS[EMBEDDER]}"
        )
    return opened


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV writes to stderr while it opens networks; errors are raised, and reported once."""
    logs: Any = getattr(cv2.utils, "logging", cv2)  # cv2.setLogLevel up to 4.12
    before = logs.getLogLevel()
    logs.setLogLevel(0)
    try:
        yield
    finally:
        logs.setLogLevel(before)


FPS, SIZE, SCORE, OVERLAP = 1.0, 480, 0.8, 0.3  # faces of 15 pixels are found in a 480-pixel frame
SIZES = range(64, 2161)  # pixels of the short side: smaller, faces vanish; larger, memory runs out


@final
class PretrainedFaceExtractor(Extractor):
    """All faces of the sampled frames, described by SFace; it runs where the frames are decoded."""

    modality = "face"
    version = 1
    dim = FACE_DIM
    options = ("fps", "size", "score", "overlap")

    def __init__(self, spec: ExtractorSpec) -> None:
        """Open both networks: the two checkpoints of a resolved spec are the detector and the embedder."""
        check_options(spec, self.options)
        score, overlap = (_share(spec, key, default) for key, default in (("score", SCORE), ("overlap", OVERLAP)))
        size = positive_option(spec, "size", SIZE)
        if size not in SIZES:
            raise InputError(f"'{spec}': size must be from {SIZES[0]} to {SIZES[-1]} pixels, got {size}")
        if len(spec.checkpoints) != 2:
            raise InputError(f"'{spec}': faces take two models, DETECTOR+EMBEDDER, got {len(spec.checkpoints)}")
        detector, embedder = map(FaceModel, spec.checkpoints, (DETECTOR, EMBEDDER))
        self.need = FrameNeed(fps=positive_option(spec, "fps", FPS), size=size)
        self.needs, self.parameters = (self.need,), {"score": score, "overlap": overlap}
        # the digests of both files stand for their weights, wherever they came from
        self.model_revision = f"{detector.name}+{embedder.name}", f"{detector.digest}+{embedder.digest}"
        self._detector = open_detector(detector, score, overlap)
        self._embedder = open_embedder(embedder)

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One row a face, by frame and within it by score; None where there is no face, or no picture."""
        return [self._stream(clip.frames.get(self.need)) for clip in clips]

    def _stream(self, frames: Frames | None) -> Stream | None:
        if frames is None or len(frames.pixels) == 0:
            return None
        found = [self._describe(picture) for picture in frames.pixels]
        times = np.repeat(frames.times, [len(rows) for rows in found])
        return Stream(np.concatenate(found), times) if len(times) else None

    def _describe(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) RGB -> (faces, 128) of unit norm."""
        bgr = np.ascontiguousarray(picture[..., ::-1])
        self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        faces = self._detector.detect(bgr)[1]  # (F, 15) boxes, landmarks and scores, or None
        faces = () if faces is None else faces[np.isfinite(faces).all(1)]
        rows = [self._embedder.feature(self._embedder.alignCrop(bgr, face)).copy() for face in faces]
        described = np.array(rows, np.float32).reshape(-1, FACE_DIM)
        norms = np.linalg.norm(described, axis=1, keepdims=True)
        return np.asarray(described / np.maximum(norms, 1e-12), np.float32)


def _share(spec: ExtractorSpec, key: str, default: float) -> float:
    value = positive_option(spec, key, default)
    if value >= 1:
        raise InputError(f"'{spec}': {key} must lie between 0 and 1, got {value:g}")
    return value
