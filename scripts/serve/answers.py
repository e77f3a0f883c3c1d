"""Answers: what is answered, for the OpenAPI document; and how routes are documented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from index import Said
from scripts.serve.progress import FileState, Status
from scripts.serve.schema import Search, Term, parameters


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="one sentence: what is wrong, and what to do")


class Share(BaseModel):
    """One expert's part in a hit."""

    weight: float
    similarity: float
    offset: float
    contribution: float = Field(description="weight * (similarity - offset)")


class Clip(BaseModel):
    """A moment of a video."""

    clip_id: str
    video: str
    start_s: float
    end_s: float
    key: str = Field(description="of the clip, for addresses")
    video_key: str
    thumb: str | None = Field(None, description="address of a picture; only where there are videos")
    strip: str | None = Field(None, description="address of a strip of pictures; only where there are videos")


class Hit(Clip):
    """A clip that was found; its score is the sum of the contributions, less its offset."""

    rank: int
    score: float
    offset: float
    experts: dict[str, Share] = Field(description="of the clip's streams; {} in a list by words alone")
    words: dict[str, Said] = Field(description="what is said or written there that fits best")
    copies: list[str] = Field(description="ids of clips that look and sound alike, with fold; the best first")
    missing: list[str] | None = Field(description="streams that the clip lacks; null in a list by words alone")


class Video(BaseModel):
    """A video that was found, with its best moments."""

    rank: int
    video: str
    key: str
    score: float
    moments: list[Hit]


class Answer(BaseModel):
    """A part of what was found."""

    query: dict[str, Any] = Field(description="what was asked, as the body of a POST without defaults")
    count: int = Field(description="how many are ranked in all, behind the offset")
    first: int = Field(description="place of the first one here: its rank, unless they are sorted")
    next: str | None = Field(description="token of the following page")
    before: str | None = Field(description="token of the page before")
    weights: dict[str, float] = Field(description="of the experts, for a clip that has all of them")
    weights_before: dict[str, float] | None = Field(None, description="without the marks, where there are some")
    partial: bool = Field(False, description="true where shards did not answer; there only then")
    missing_shards: list[str] = Field([], description="their names; what they have is not here")
    notes: list[str]
    hits: list[Hit] | None = Field(None, description="unless by_video or then")
    videos: list[Video] | None = Field(
        None, description="if by_video or then: of a sequence its moments by time, and their mean as the score"
    )


class Cell(BaseModel):
    """A place on a map."""

    key: str = Field(description="of the clip")
    row: int
    column: int


class Map(BaseModel):
    """What was found, arranged so that alike clips lie side by side."""

    columns: int
    cells: list[Cell] = Field(description="row by row; of a video, its best moment")


class Example(BaseModel):
    """A file that others can be like."""

    example: str = Field(description="its name, for `example` of a search")
    streams: list[str] = Field(description="by which it is compared")
    missing: list[str] = Field(description="the other streams of the index")
    notes: list[str]


class Info(BaseModel):
    """What is served."""

    title: str
    clips: int
    experts: list[str]
    words: list[str] = Field(description="experts that have words")
    columns: dict[str, str] = Field(description="types of the columns for filters")
    playable: bool
    top: int = Field(description="how many hits can be ranked at most")


class Value(BaseModel):
    """A value of a column, or a span of numbers."""

    value: str | bool | None = None
    low: float | None = None
    high: float | None = None
    count: int = Field(description="clips that have it")
    filter: str | None = Field(description="of these clips, for `where`; null of streams")


class Facet(BaseModel):
    """The values of a column, among the clips that a request may find."""

    column: str
    holds: str = Field(description="text, true or false, numbers, or streams")
    values: list[Value]
    missing: int = Field(description="clips for which nothing is known")
    more: int = Field(description="how many values there are besides these")


class Facets(BaseModel):
    """Columns, with their values."""

    facets: list[Facet]


class Play(BaseModel):
    """How a clip is played."""

    kind: str = Field(description="video, audio, image, or none")
    url: str | None = None
    direct: bool | None = Field(None, description="the file itself, not a converted part")
    mime: str | None = None
    start_s: float | None = Field(None, description="on the time line of what is played")
    end_s: float | None = None
    why: str = Field(description="why it is converted, or cannot be played")


class Facts(Clip):
    """What is known of a clip."""

    columns: dict[str, str | float | bool | None]
    streams: list[str]
    missing: list[str]
    words: dict[str, list[Said]]
    play: Play | None = Field(None, description="only where there are videos")


class Moments(BaseModel):
    """Clips of a video in order of time."""

    video: str
    count: int = Field(description="clips of the video in all")
    first: int = Field(description="number of the first one here, from 1")
    clips: list[Clip]


class Reading(BaseModel):
    """How far a library is read."""

    folder: str
    status: Status
    counts: dict[str, int] = Field(description="files by state")
    count: int = Field(description="files that fit in all")
    page: int
    pages: int
    files: list[FileState] = Field(description="of this page")


class Health(BaseModel):
    """Whether searches are answered."""

    ok: bool


GUARDED = (400, 401, 403, 421, 500)  # what any address may answer
REFUSALS = {
    400: "something in the request cannot be used",
    401: "the token is missing or wrong",
    403: "a page of another site asks",
    404: "there is no such thing",
    408: "the body did not arrive in time",
    413: "the body is too long",
    416: "the file has no such bytes",
    421: "the server is not known by this name",
    500: "the server failed",
    503: "too much is asked at once, or shards do not answer; Retry-After says when to ask again",
}


REF = "#/components/schemas/{model}"


def documented(answer: Any, *statuses: int, query: bool = False, body: Mapping[str, Any] | None = None) -> Any:
    """How a route is documented: its answer, errors of its own, whether it takes a request, schemas of a body."""
    good = answer if isinstance(answer, dict) else {"model": answer}
    extra: dict[str, Any] = {"parameters": parameters()} if query else {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {kind: {"schema": its} for kind, its in body.items()}}
    return {"responses": {200: good, **{status: {} for status in statuses}}, "openapi_extra": extra}


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document with all that is answered in place of an answer, and nothing that never is."""
    schemas = document["components"]["schemas"]
    for model in (Problem, Term, Search):
        schemas[model.__name__] = model.model_json_schema(ref_template=REF)
    schemas["Search"].pop("$defs")
    content = {"application/json": {"schema": {"$ref": REF.format(model="Problem")}}}
    for route in (route for methods in document["paths"].values() for route in methods.values()):
        route["responses"].pop("422", None)  # it is a 400 here
        statuses = {*GUARDED, *(int(status) for status in route["responses"] if status >= "400")}
        refused = {str(n): {"description": REFUSALS[n], "content": content} for n in statuses}
        route["responses"] = dict(sorted((route["responses"] | refused).items()))
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document
