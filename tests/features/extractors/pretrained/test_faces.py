"""Which faces are found, when, and how they are described; by networks made here, in YuNet's and SFace's shape.

The detector knows one face: a bright square of 48 pixels whose landmarks lie where SFace has them. The embedder
gives the mean red and the mean green of 8 x 8 parts of the aligned face.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from features.errors import InputError
from features.extractors.pretrained.faces import PretrainedFaceExtractor
from features.extractors.registry import make_extractor
from features.extractors.spec import Checkpoint, ExtractorSpec
from tests.features.clips import clip_of

FACE = 48
LANDMARKS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def save_network(path: Path, nodes, inits, inputs, outputs) -> Path:
    values = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in part] for part in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "net", *values, [numpy_helper.from_array(v, n) for n, v in inits.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 6
    onnx.save(model, path)
    return path


def save_detector(path: Path, *, bright: float = 220.0) -> Path:
    """YuNet's inputs and outputs; a cell of stride 16 is a face if the 48 pixels around it are bright."""
    nodes, inits, outputs = [], {f"shape_{n}": np.array([1, -1, n]) for n in (1, 4, 10)}, []
    corners = ((LANDMARKS / 112 - 0.5) * FACE).ravel()
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            name, side, scored = f"{kind}_{stride}", 3 * stride, width == 1
            flat = f"{name}_flat" if scored else name
            weight = np.zeros((width, 3, side, side), np.float32)
            if scored:
                weight += (stride == 16) / (3 * side * side)
                bias = np.full(1, -bright)
            elif kind == "bbox":
                bias = np.array([0.5, 0.5, *[np.log(FACE / stride)] * 2])
            else:
                bias = corners / stride + 0.5
            inits |= {f"{name}_w": weight, f"{name}_b": bias.astype(np.float32)}
            window = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [stride] * 4}
            nodes += [
                helper.make_node("Conv", ["input", f"{name}_w", f"{name}_b"], [f"{name}_map"], **window),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_last", f"shape_{width}"], [flat]),
                *([helper.make_node("Sigmoid", [flat], [name])] if scored else []),
            ]
            outputs.append((name, [1, (640 // stride) ** 2, width]))
    return save_network(path, nodes, inits, [("input", [1, 3, 640, 640])], outputs)


def save_embedder(path: Path, *, dim: int = 128) -> Path:
    means = np.zeros((2, 3, 14, 14), np.float32)
    means[0, 0] = means[1, 1] = 1 / 14**2
    nodes = [
        helper.make_node("Conv", ["data", "means"], ["map"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["map"], ["flat"]),
        helper.make_node("Gemm", ["flat", "rows"], ["fc1"]),
    ]
    inits = {"means": means, "rows": np.eye(128, dtype=np.float32)[:, :dim]}
    return save_network(path, nodes, inits, [("data", [1, 3, 112, 112])], [("fc1", [1, dim])])


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return save_detector(folder / "yunet.onnx"), save_embedder(folder / "sface.onnx")


def extractor_of(*paths: Path, **options: str) -> PretrainedFaceExtractor:
    places = tuple(Checkpoint(path.name, path, "sha256:0") for path in paths)
    return PretrainedFaceExtractor(ExtractorSpec("face", "+".join(map(str, paths)), None, options, places))


@pytest.fixture
def extractor(networks):
    return extractor_of(*networks)


def scene(*places: tuple[int, int], colour=(255, 255, 255), size=(480, 640)) -> np.ndarray:
    """A dark frame with faces, each given by the row and column of its top left corner."""
    frame = np.full((*size, 3), 20, np.uint8)
    for top, left in places:
        frame[top : top + FACE, left : left + FACE] = colour
    return frame


def test_all_faces_with_their_times_in_frames_of_any_shape(extractor):
    clip = clip_of(extractor, scene((96, 160)), scene(), scene((96, 160), (288, 400)), start=10.0)
    (stream,) = extractor.extract([clip])
    assert stream.times.tolist() == [10.0, 12.0, 12.0]
    assert (stream.rows.shape, stream.rows.dtype) == ((3, 128), np.float32)
    np.testing.assert_allclose(np.linalg.norm(stream.rows, axis=1), 1, atol=1e-6)
    clips = [clip_of(extractor, scene((96, 160), size=size)) for size in ((480, 854), (854, 480), (481, 641))]
    assert [len(stream.rows) for stream in extractor.extract(clips)] == [1, 1, 1]
    without = [clip_of(extractor, scene()), clip_of(extractor)]  # no face, no picture
    assert extractor.extract(without) == [None, None]
    assert extractor.extract([]) == []


def test_a_row_is_the_aligned_face_in_the_order_red_green(extractor):
    frame = scene((96, 160))
    frame[96 : 96 + FACE // 2, 160 : 160 + FACE] = (255, 200, 255)  # the upper half has less green
    (stream,) = extractor.extract([clip_of(extractor, frame)])
    red, green = stream.rows[0].reshape(2, 8, 8)[:, :7, :7]  # the last parts reach over the edge
    np.testing.assert_allclose(red, red[0, 0], rtol=0.01)
    np.testing.assert_allclose(green[:3] / red[:3], 200 / 255, rtol=0.02)
    np.testing.assert_allclose(green[5:] / red[5:], 1, rtol=0.02)
    frame = scene((96, 160), (288, 400))  # faces of one frame do not share a row
    frame[288 : 288 + FACE, 400 : 400 + FACE, 1] = 200
    (both,) = extractor.extract([clip_of(extractor, frame)])
    (alone,) = extractor.extract([clip_of(extractor, scene((96, 160)))])
    assert np.abs(both.rows - alone.rows[0]).max(axis=1).min() < 1e-6
    assert np.abs(both.rows - alone.rows[0]).max() > 0.01


SEEN = [(221, 0, {"score": "0.6"}, 1), (221, 0, {"score": "0.8"}, 0)]  # sigmoid(221 - 220) = 0.73
SEEN += [(255, 16, {"overlap": "0.3"}, 1), (255, 16, {"overlap": "0.7"}, 2)]  # two neighbouring cells see a face


@pytest.mark.parametrize(("level", "wide", "options", "found"), SEEN)
def test_what_scores_low_or_overlaps_is_no_face_of_its_own(networks, level, wide, options, found):
    frame = scene()
    frame[96 : 96 + FACE, 160 : 160 + FACE + wide] = level
    (stream,) = extractor_of(*networks, **options).extract([clip_of(extractor_of(*networks), frame)])
    assert (0 if stream is None else len(stream.rows)) == found


def test_fingerprints_follow_the_files_and_wrong_files_are_named(networks, tmp_path):
    plain = extractor_of(*networks).fingerprint
    moved = [tmp_path / path.name for path in networks]
    for old, new in zip(networks, moved):
        new.write_bytes(old.read_bytes())
    assert extractor_of(*moved).fingerprint.digest == plain.digest
    options = {"score": "0.7", "overlap": "0.4", "fps": "2", "size": "360"}
    others = [extractor_of(*networks, **{key: value}) for key, value in options.items()]
    others.append(extractor_of(save_detector(tmp_path / "yunet.onnx", bright=230.0), networks[1]))
    assert len({plain.digest, *(other.fingerprint.digest for other in others)}) == 6
    assert (plain.model, plain.dim) == ("yunet.onnx+sface.onnx", 128)
    several = tmp_path / "several"
    several.mkdir()
    for name, bright in (("yunet_2022", 100.0), ("yunet_2023", 220.0), ("yunet_2023_int8", 100.0)):
        save_detector(several / f"{name}.onnx", bright=bright)
    newest = extractor_of(several, networks[1])  # that is not quantised
    assert newest.fingerprint.revision == plain.revision
    detector, embedder = networks
    (tmp_path / "text.onnx").write_text("not a network " * 9)
    (tmp_path / "pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")
    (tmp_path / "empty").mkdir()
    small = save_embedder(tmp_path / "small.onnx", dim=64)
    old = old_detector(tmp_path / "old.onnx")
    cases = [
        ((old, embedder), "a YuNet from before 2023"),
        ((detector, old), r"not the network of a face embedder \(outputs conf, iou, loc\)"),
        ((embedder, detector), "sface.onnx is not the network of a face detector.*may be the embedder"),
        ((detector, detector), "yunet.onnx finds faces and does not describe them; the detector comes first"),
        ((tmp_path / "text.onnx", embedder), "text.onnx is not an ONNX model that OpenCV"),
        ((detector, tmp_path / "text.onnx"), "as face embedder give SFace"),
        ((tmp_path / "pointer.onnx", embedder), "Git LFS pointer"),
        ((tmp_path / "empty", embedder), "empty holds no .onnx file without int8"),
        ((tmp_path / "gone.onnx", embedder), "gone.onnx: the face detector cannot be read: No such file"),
        ((detector, small), r"small.onnx gives \(1, 64\) numbers for an aligned face, SFace gives \(1, 128\)"),
        ((detector,), "faces take two models, DETECTOR.EMBEDDER, got 1"),
    ]
    for paths, message in cases:
        with pytest.raises(InputError, match=message):
            extractor_of(*paths)
    with pytest.raises(InputError, match=r"text.onnx is not an ONNX model"):
        make_extractor(f"face={tmp_path}/text.onnx+{tmp_path}/text.onnx")
    options = {
        "score must lie between 0 and 1, got 1.5": {"score": "1.5"},
        "overlap must be a number above 0, got 'much'": {"overlap": "much"},
        "size must be from 64 to 2160 pixels, got 9000": {"size": "9000"},
        "no option 'merge' here": {"merge": "8"},
    }
    for message, option in options.items():
        with pytest.raises(InputError, match=message):
            extractor_of(*networks, **option)


def old_detector(path: Path) -> Path:
    names = ("loc", "conf", "iou")
    nodes = [helper.make_node("Relu", ["input"], [name]) for name in names]
    return save_network(path, nodes, {}, [("input", [1, 3, 8, 8])], [(name, [1, 3, 8, 8]) for name in names])


def test_opening_networks_writes_nothing(networks, tmp_path):
    """OpenCV 5 warns on stderr of what does not matter; a wrong file would add pages."""
    (tmp_path / "text.onnx").write_text("not a network " * 9)
    program = (
        "import sys; from pathlib import Path\n"
        "from features.errors import InputError\n"
        "from features.extractors.spec import Checkpoint\n"
        "from features.extractors.pretrained.faces import FaceModel, open_detector, open_embedder\n"
        "files = zip(sys.argv[1:], ('detector', 'embedder', 'detector'))\n"
        "models = [FaceModel(Checkpoint(p, Path(p), ''), role) for p, role in files]\n"
        "open_detector(models[0], 0.8, 0.3); open_embedder(models[1])\n"
        "try: open_detector(models[2], 0.8, 0.3)\n"
        "except InputError: pass\n"
    )
    command = [sys.executable, "-c", program, *map(str, networks), str(tmp_path / "text.onnx")]
    ran = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[4])
    assert ran.stderr + ran.stdout == b""
