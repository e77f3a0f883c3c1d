"""Faces by two pretrained networks: one row a face a sampled frame.

    row = s / |s|,   s = SFace(the face, moved and turned until eyes, nose and mouth lie where SFace has them)

YuNet gives every face's box, five landmarks and score; a face counts from ``score`` on, and of two that overlap by
more than ``overlap`` (intersection over union) the better counts. The similarity transform that brings the
landmarks to their places in a 112 x 112 picture is ``alignCrop`` of OpenCV. Inner products of rows are cosines:
SFace's authors call two faces one person from 0.363 on.

The word on the command line is ``face=DETECTOR+EMBEDDER``, each a name on the hub, a folder or an .onnx file:
``face=opencv/face_detection_yunet+opencv/face_recognition_sface:score=0.7,size=720``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from features.clip import Clip, FrameNeed, Need
from features.errors import InputError
from features.extractor import Extractor, Fingerprint, Stream
from features.extractor_spec import ExtractorSpec
from features.pretrained.face_models import (
    DETECTOR,
    EMBEDDER,
    FACE_DIM,
    open_detector,
    open_embedder,
    read_face_model,
)
from features.pretrained.options import check_options, positive_count, positive_number
from features.run_config import RunConfig

FPS, SIZE, SCORE, OVERLAP = 1.0, 480, 0.8, 0.3
SIZES = range(64, 2161)  # pixels of the short side: below, no face is left; above, memory goes


@final
class PretrainedFaceExtractor(Extractor):
    """All faces of the sampled frames, described by SFace; it runs where the frames are decoded."""

    modality = "face"
    version = 1
    options = ("fps", "size", "score", "overlap")

    def __init__(self, spec: ExtractorSpec, run: RunConfig) -> None:
        """Open both networks.

        Args:
            spec: resolved: its two checkpoints are the detector and the embedder.
            run: of no account here: the networks are small and run on the CPU, in 32 bits.

        Raises:
            InputError: a file is not the network it should be, or an option makes no sense.
        """
        check_options(spec, self.options)
        score, overlap = (_share(spec, key, default) for key, default in (("score", SCORE), ("overlap", OVERLAP)))
        size = positive_count(spec, "size", SIZE)
        if size not in SIZES:
            raise InputError(f"'{spec}': size must be from {SIZES[0]} to {SIZES[-1]} pixels, got {size}")
        if len(spec.checkpoints) != 2:
            raise InputError(f"'{spec}': faces take two models, DETECTOR+EMBEDDER, got {len(spec.checkpoints)}")
        detector, embedder = (
            read_face_model(checkpoint, role) for checkpoint, role in zip(spec.checkpoints, (DETECTOR, EMBEDDER))
        )
        self._need = FrameNeed(fps=positive_number(spec, "fps", FPS), size=size)
        self._settings = {"score": score, "overlap": overlap}
        self._model = f"{detector.model}+{embedder.model}"
        self._revision = f"{detector.digest}+{embedder.digest}"
        self._detector = open_detector(detector, score, overlap)
        self._embedder = open_embedder(embedder)

    @property
    def dim(self) -> int:
        """What SFace gives: 128."""
        return FACE_DIM

    @property
    def needs(self) -> tuple[Need, ...]:
        """One frame a second, large enough for faces of 15 pixels in a 480-pixel frame."""
        return (self._need,)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What it takes to be a face."""
        return self._settings

    @property
    def fingerprint(self) -> Fingerprint:
        """The digests of both files stand for their weights, wherever they came from."""
        plain = super().fingerprint
        return Fingerprint(
            extractor=plain.extractor,
            version=plain.version,
            dim=plain.dim,
            parameters=plain.parameters,
            model=self._model,
            revision=self._revision,
        )

    def extract(self, clips: Sequence[Clip]) -> list[Stream | None]:
        """One row a face, by frame and within it by score; None where there is no face, or no picture."""
        return [self._stream(clip) for clip in clips]

    def _stream(self, clip: Clip) -> Stream | None:
        frames = clip.frames.get(self._need)
        if frames is None or len(frames.pixels) == 0:
            return None
        found = [self._describe(picture) for picture in frames.pixels]
        times = np.repeat(frames.times, [len(rows) for rows in found])
        return Stream(np.concatenate(found), times) if len(times) else None

    def _describe(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) RGB -> (faces, 128) of unit norm."""
        bgr = np.ascontiguousarray(picture[..., ::-1])
        self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        faces = self._detector.detect(bgr)[1]
        rows = [self._embedder.feature(self._embedder.alignCrop(bgr, face)).copy() for face in _within(faces)]
        described = np.array(rows, np.float32).reshape(-1, FACE_DIM)
        norms = np.linalg.norm(described, axis=1, keepdims=True)
        return np.asarray(described / np.maximum(norms, 1e-12), np.float32)


def _within(faces: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """(F, 15) boxes, landmarks and scores, without any that are not numbers."""
    if faces is None:
        return np.empty((0, 15), np.float32)
    return faces[np.isfinite(faces).all(1)]


def _share(spec: ExtractorSpec, key: str, default: float) -> float:
    value = positive_number(spec, key, default)
    if value >= 1:
        raise InputError(f"'{spec}': {key} must lie between 0 and 1, got {value:g}")
    return value
