"""The text side of an index's model, beside the index: sentences become queries without torch.

    text-796ff2f3ced2/        by the fingerprint of the model that the index was made with
        text.json             format; nothing, prompts (see mee.export); made_of: a digest of the model's text
                              side; files and sha256, as elsewhere in an index
        graph.onnx            mee.export describes it
        weights.safetensors   its weights, which are mapped
        tokens-0.json         of each text encoder: its tokenizer

It may have been made by anyone. ONNX Runtime is given the bytes of a small graph, which may name no file, no loop
and no operator but ONNX's own; inputs and outputs must fit the weights and the index, and memory is limited. What
cannot be used is an InputError: the model itself can take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from index.queries import FIELDS, Queries
from index.scanners import mapped_bytes
from index.storage import TEXT_FACTS, check_file, check_uncut, read_text_facts, worth_checking
from mee.checkpoint import read_head
from mee.errors import InputError, usable
from mee.files import LARGEST_JSON, limited, read_file
from mee.layout import Layout
from mee.text import Reader, Unread, check_rules, check_sentences, reader_of

if TYPE_CHECKING:
    from mee.model import MEE

FORMAT: Final = 2
GRAPH, WEIGHTS = "graph.onnx", "weights.safetensors"
LARGEST_GRAPH: Final = 16 << 20  # bytes; that of a model of 24 layers has less than one million
REFUSED: Final = (b"location", b"Loop", b"Scan", b"com.microsoft")  # of files, loops, others' operators
TYPES: Final = {"F32": "<f4", "I64": "<i8"}  # of weights
NAMES: Final = {"<f4": "tensor(float)", "<i8": "tensor(int64)"}  # ONNX Runtime's
OUTPUTS: Final = FIELDS[:3]  # of queries; their share is 1


@contextmanager
def _of_onnx_runtime(do: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of many types, with sentences about its sources
        raise ValueError(f"ONNX Runtime cannot {do} its graph") from error


@final
class TextSide:
    """The text side in a folder, for an index of some layout."""

    def __init__(self, folder: Path, layout: Layout, *, whole: bool = False) -> None:
        """Compare sizes and, as far as it takes no time, checksums; with `whole` all of them.

        Raises:
            InputError: it is missing, damaged or of another format.
        """
        self._folder, self._layout = folder, layout
        with usable(f"'{folder}' cannot be used"):
            if not folder.is_dir():
                raise InputError("the index has no text side")
            content, files = read_text_facts(folder)
            if content["format"] != FORMAT:
                raise ValueError(f"it is of format {content['format']!r:.20}")
            self.files, self.made_of = sorted(files), str(content.get("made_of"))
            self.made = (folder / TEXT_FACTS).stat().st_mtime  # in seconds
            self._nothing: list[int] = [int(token) for token in content["nothing"]]
            self._prompts = [str(prompt) for prompt in content["prompts"]]
            if len(self._prompts) != len(self._nothing):
                raise ValueError("it has not a prompt for each text encoder")
            self._tokens = [f"tokens-{number}.json" for number in range(len(self._nothing))]
            if {path.name for path in files} != {GRAPH, WEIGHTS, *self._tokens}:
                raise ValueError("it does not name its files, or others")
            for path, as_a_whole in worth_checking(files):
                check_file(path, files[path], whole=whole or as_a_whole)

    def encode(self, sentences: Sequence[str]) -> Queries:
        """A query for each sentence, which has words; the same in any company.

        Raises:
            InputError: the text side cannot be used.
        """
        with usable(f"'{self._folder}' cannot be used"):
            session, weights = self._session
            check_uncut(self._mapped)
            with limited(self._folder):  # once: it reads files of the system
                rows = [self._run(session, weights, sentence.strip()) for sentence in sentences]
            packed, logits, offsets = (np.concatenate(parts)[:, None] for parts in zip(*rows))
            wide = [part.astype(np.float64) for part in (logits, offsets)]
            return Queries(packed, wide[0], wide[1], np.ones((len(rows), 1)))

    def _run(self, session: Any, weights: dict[str, Any], sentence: str) -> list[Any]:
        ids = {
            f"ids-{number}": np.array([tokenizer.encode(prompt + sentence).ids or [nothing]], dtype=np.int64)
            for number, (tokenizer, nothing, prompt) in enumerate(
                zip(self._tokenizers, self._nothing, self._prompts)
            )
        }
        with _of_onnx_runtime("run"):
            found = session.run(OUTPUTS, weights | ids)
        experts = len(self._layout.names)
        if [array.shape for array in found] != [(1, self._layout.total), (1, experts), (1, experts)]:
            raise ValueError("its results are not those of the index's experts")
        return list(found)

    @cached_property
    def _tokenizers(self) -> list[Any]:
        from tokenizers import Tokenizer

        read = [read_file(self._folder / name, LARGEST_JSON).decode() for name in self._tokens]
        with limited(self._folder):
            tokenizers = [Tokenizer.from_str(text) for text in read]
        for tokenizer in tokenizers:
            check_rules(tokenizer)
        return tokenizers

    @cached_property
    def readers(self) -> list[Reader]:
        """How the text encoders read sentences."""
        return [reader_of(tokenizer, prompt) for tokenizer, prompt in zip(self._tokenizers, self._prompts)]

    @cached_property
    def _session(self) -> tuple[Any, dict[str, Any]]:
        """ONNX Runtime's session, and the inputs that are weights."""
        status = (self._folder / WEIGHTS).stat()
        self._mapped = {str(self._folder / WEIGHTS): (status.st_ino, status.st_size)}
        graph, weights = read_file(self._folder / GRAPH, LARGEST_GRAPH), _arrays(self._folder / WEIGHTS)
        if found := next((word for word in REFUSED if word in graph), None):
            raise ValueError(f"its graph says {found.decode()}, which no text side has")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised
        with _of_onnx_runtime("open"), limited(self._folder):
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        ids = {f"ids-{number}": ("tensor(int64)", 2) for number in range(len(self._nothing))}
        shapes = {name: (NAMES[array.dtype.str], list(array.shape)) for name, array in weights.items()}
        inputs = {each.name: (each.type, each.shape) for each in session.get_inputs()}
        asked = {name: (kind, len(shape) if name in ids else shape) for name, (kind, shape) in inputs.items()}
        if asked != ids | shapes or tuple(each.name for each in session.get_outputs()) != OUTPUTS:
            raise ValueError("its graph does not fit its weights")
        return session, weights


def _arrays(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file, in its mapped bytes."""
    head, content = read_head(path), mapped_bytes(path)
    head.pop("__metadata__", None)
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    arrays = {}
    for name, about in head.items():
        first, end = about["data_offsets"]
        if about["dtype"] not in TYPES:
            raise ValueError(f"'{name:.80}' is of type {about['dtype']!r:.20}")
        if not 0 <= first <= end <= len(content) - start:
            raise ValueError(f"'{name:.80}' is not in the file")
        arrays[name] = content[start + first : start + end].view(TYPES[about["dtype"]]).reshape(about["shape"])
    return arrays


@final
class Text:
    """Sentences -> queries: by the text side beside the index, or by the model, which loads torch."""

    def __init__(self, load: Callable[[], MEE], exported: TextSide | None = None, reason: str = "") -> None:
        """reason: why there is no text side to use."""
        self._load, self._exported, self._reason = load, exported, reason
        self.unread = Unread()  # of all sentences so far

    def encode(self, sentences: Sequence[str]) -> Queries:
        """A query for each sentence; an empty one is an InputError."""
        check_sentences(sentences)
        if self._exported is not None:
            try:
                found = self._exported.encode(sentences)
                self.unread.look(self._exported.readers, sentences, words=True)
                return found
            except InputError as error:
                self._exported, self._reason = None, str(error)
        from mee.encode import encode_captions

        self.unread.look(self.model.readers, sentences, words=True)
        return Queries.of(encode_captions(self.model, sentences))

    def unread_of(self, sentences: Sequence[str]) -> Unread:
        """What is not read of some sentences alone, which were encoded before."""
        readers = self.model.readers if self._exported is None else self._exported.readers
        return Unread().look(readers, sentences, words=True)

    @cached_property
    def model(self) -> MEE:
        """The model, in eval mode."""
        return self._load().eval()

    @property
    def source(self) -> str:
        """What encodes sentences, in words."""
        if self._exported is not None:
            return "sentences are encoded by the index's text side, without torch"
        return f"sentences are encoded by the model, with torch: {self._reason}"
