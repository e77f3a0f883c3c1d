"""A result: one evaluation as a JSON file, with everything that is needed to compare it.

    {"format": "mee-result", "version": 3, "made": ..., "system": ..., "protocol": ..., "rules": ...,
     "text_to_video": ..., "video_to_text": ..., "choice": ..., "schemes": ..., "removed": ..., "patterns": ...,
     "weights": ..., "best": ..., "worst": ...}

Reading is strict: unknown and missing keys, values of another kind, and other versions are errors. A direction has
the rank of every query, in an order that is the same for every system, so that two results can be compared query
by query (mee.evaluation.metrics): a few bytes a query.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from mee.config import Missing
from mee.errors import InputError
from mee.files import read_file, whole_file

FORMAT: Final = "mee-result"
VERSION: Final = 3
WHOLE: Final = "every key must be there"  # the validators' context when a file is read
ClipRanks = Annotated[tuple[Annotated[float, Field(ge=1)], ...], Field(min_length=1)]
Metrics = dict[str, float]  # by their names in papers: "R@1", "MedR", …; shares in percent


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _refuse_missing_keys(self, info: ValidationInfo) -> Self:
        lacking = [name for name in type(self).model_fields if name not in self.model_fields_set]
        if info.context == WHOLE and lacking:
            raise ValueError(f"it lacks {', '.join(lacking)}")
        return self


class Made(_Part):
    """How and when."""

    mee: str  # version
    torch: str
    python: str
    device: str
    command: str
    at: str  # UTC, ISO 8601
    seconds: float


class System(_Part):
    """What was measured."""

    name: str
    kind: Literal["model", "scores"]
    checkpoint: str | None = None  # fingerprint of the weights
    seed: int | None = None
    files: dict[str, str] = {}  # role -> name and SHA-256: "scores.npy sha256:…"
    rule: str | None = None  # of scores: what they are, and as what they are compared
    modalities: tuple[str, ...] = ()
    missing: Missing | None = None  # a model's rule of missing streams, see mee.scoring
    trained_on: str | None = None  # in words: "9,000 videos, list 9k"; None: unknown
    selected_on: Literal["validation", "test", "nothing", "unknown"] = "unknown"  # how its epoch was chosen
    selected_here: bool = False  # on the very captions that are ranked here


class ProtocolFacts(_Part):
    """The protocol: which queries and gallery."""

    name: str
    title: str
    split: str
    query_rule: str
    train_list: str | None = None
    queries: int
    gallery: int
    judgments: int = 0  # right (query, clip) pairs; as many as queries where each has one right clip
    expected_queries: int | None = None  # the protocol's
    expected_gallery: int | None = None
    partial: bool = False
    missing: tuple[str, ...] = ()  # how it falls short, a sentence each
    left_out: tuple[str, ...] = ()  # captioned videos that are not in the store or the scores
    without_stream: tuple[str, ...] = ()  # clips that have no stream at all, and share the last place
    streams: dict[str, int] = {}  # modality -> how many clips of the gallery have it
    files: dict[str, str] = {}  # annotation file -> its name and SHA-256
    digest: str = ""  # of the ranked captions, their ids and clips: if equal, ranks are in the same order


class Normalisation(_Part):
    """Test-time normalisation."""

    method: Literal["none", "qb-norm", "nnn", "dsl"] = "none"
    bank: str | None = None  # in words: "9,000 training captions"
    parameters: dict[str, float] = {}
    fitted_on: str | None = None  # in words: "400 captions of split 'val'"; None: all parameters were given
    uses_test_queries: bool = False  # all of them together: figures of a live search would be lower


class Rules(_Part):
    """How it was measured."""

    ties: str = "expected rank"
    v2t: str = "closest own caption among all captions"
    normalisation: Normalisation = Normalisation()
    intervals: str = ""  # in words: "95 % bootstrap over queries, 1,000 resamples, seed 0"


class Direction(_Part):
    """Ranks of one direction."""

    queries: int
    candidates: int
    metrics: Metrics
    intervals: dict[str, tuple[float, float]] = {}
    recall: tuple[tuple[int, float], ...] = ()  # (K, R@K), K rising
    histogram: tuple[tuple[str, int], ...] = ()  # (bin of ranks: "1", "2", "3-4", …, queries)
    ranks: tuple[ClipRanks, ...] = ()  # of every query, those of each clip together


class Row(_Part):
    """Figures of another way to score."""

    name: str  # a scheme, or the stream that was removed
    text_to_video: Metrics
    video_to_text: Metrics


class Pattern(_Part):
    """The queries whose right clip has exactly these streams."""

    streams: tuple[str, ...]
    clips: int
    queries: int
    text_to_video: Metrics


class Weights(_Part):
    """Mean mixture weights of queries, in percent."""

    experts: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[float, ...]], ...]  # (which queries, how many, a mean weight an expert)


class Answer(_Part):
    """A clip among the answers to a query."""

    clip_id: str
    video: str | None = None  # file, below the folder of videos
    start_s: float | None = None
    end_s: float | None = None
    score: float


class Query(_Part):
    """One query with its first answers."""

    query_id: str
    caption: str | None = None
    rank: float  # expected
    right: Answer  # the right clip, the best-scored one if there are several
    top: tuple[Answer, ...]


class Choice(_Part):
    """Multiple choice: of five sentences a clip, is its own the best-scored one?"""

    questions: int
    accuracy: float  # percent; ties give the expected value
    interval: tuple[float, float] | None = None


class Result(_Part):
    """One evaluation."""

    format: Literal["mee-result"] = FORMAT
    version: Literal[3] = VERSION
    made: Made
    system: System
    protocol: ProtocolFacts
    rules: Rules
    text_to_video: Direction | None = None
    video_to_text: Direction | None = None
    choice: Choice | None = None
    schemes: tuple[Row, ...] = ()
    removed: tuple[Row, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    weights: Weights | None = None
    best: tuple[Query, ...] = ()
    worst: tuple[Query, ...] = ()


def write_result(result: Result, path: Path) -> None:
    """Write a result atomically.

    Raises:
        InputError: it cannot be written there.
    """
    with whole_file(path, "results") as aside:
        content = json.dumps(result.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
        numbers = re.compile(r"\[\n([-+.\w\s,]*)\]")  # on one line; in a text, a line break is escaped
        content = numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", content)
        aside.write_text(content + "\n", encoding="utf-8")


def read_result(path: Path) -> Result:
    """Read a result.

    Raises:
        InputError: the file is missing, or is not a result of this version.
    """
    try:
        content = read_file(path, follow=True)
    except FileNotFoundError:
        command = f"mee evaluate … --result {shlex.quote(path.name)}"
        raise InputError(f"no result file at '{path}'; make one: {command}") from None
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from error
    try:
        return Result.model_validate_json(content, strict=True, context=WHOLE)
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        reason = first["msg"].removeprefix("Value error, ")
        if first["loc"] == ("version",):
            where, reason = "version", f"it is {first['input']!r:.40}"
        raise InputError(
            f"'{path}' is not a result of mee evaluate, version {VERSION}: {where}: {reason}; make it again: "
            "mee evaluate … --result FILE"
        ) from error
