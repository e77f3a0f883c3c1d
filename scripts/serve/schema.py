"""What is asked, in addresses and in JSON, and what is answered: one schema, which the OpenAPI document shows.

q=a dog&also=0.5*at night&less=a cat&weights=audio=0.7&size=24    words as on the command line
{"sentence": "a dog", "also": [{"weight": 0.5, "sentence": "at night"}, …], "weights": {"audio": 0.7}, …}
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from index import Request, Said
from mee.errors import InputError, did_you_mean, name_id
from scripts.search import WEIGHTED, term_of
from scripts.serve.progress import FileState, Status
from scripts.serve.service import TERMS, TOP

SIZE = 24  # hits on a page, by default
NAMES = 64  # experts that a request names, at most
RENAMED = {"q": "sentence"}  # names in addresses of fields
LISTS = ("also", "less", "only", "weights")
FLAG = re.compile(r"--(said|written|min-score|less)\b")
SHOULD = re.compile(r"^\w+ should ")
NO_NUL = r"^[^\x00]*$"

Sentence = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=NO_NUL, strip_whitespace=True)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=6000, pattern=NO_NUL)]
Condition = Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=NO_NUL)]


class Term(BaseModel):
    """One more sentence of a search."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    weight: float = Field(1.0, ge=-1e6, le=1e6, description="how much it counts; below 0: not this")
    sentence: Sentence


class Search(BaseModel):
    """A search; it needs a sentence, a clip that others should be like, or words that are said or written."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    sentence: Sentence | None = Field(None, description="what to find, in words; its weight is 1")
    also: list[Term] = Field([], max_length=TERMS - 1, description="more sentences with their weights")
    like: Name | None = Field(None, description="id of a clip: find clips like it")
    only: list[Name] = Field([], max_length=NAMES, description="compare by these experts only")
    weights: dict[Name, Annotated[float, Field(ge=0)]] = Field(
        {}, max_length=NAMES, description="of experts, in place of the model's; experts not named get 0"
    )
    where: Condition | None = Field(None, description='only clips that match, such as: duration < 30 and x == "y"')
    video: Name | None = Field(None, description="only clips of this video")
    said: Sentence | None = Field(None, description="only clips in which somebody says these words")
    written: Sentence | None = Field(None, description="only clips in whose picture these words are written")
    top: int = Field(TOP, ge=1, le=TOP, description="how many hits, or videos, are ranked in all")
    size: int = Field(SIZE, ge=1, le=TOP, description="how many of them come at a time")
    min_score: float | None = Field(None, description="only hits that score so much or more")
    by_video: bool = Field(False, description="find videos: each once, with its best moments")
    moments: int = Field(3, ge=1, le=20, description="how many moments of each video, at most")
    plain: bool = Field(False, description="do not subtract the clips' offsets of test-time normalisation")
    exact: bool = Field(False, description="exact results also where the kind of the index may miss a clip")

    def request(self) -> tuple[Request, int]:
        """The request, and how many hits a page has."""
        fields = dict(self) | {"also": tuple((term.weight, term.sentence) for term in self.also)}
        size = fields.pop("size")
        try:
            return Request(**fields | {"only": tuple(self.only)}), size
        except InputError as error:
            raise InputError(FLAG.sub(lambda flag: flag[1].replace("-", "_"), str(error))) from None


def request_of(params: Iterable[tuple[str, str]], others: Collection[str] = ()) -> tuple[Request, int]:
    """The request of an address, and how many hits a page has.

    params: names and values; an empty value, as of a form's empty field, is none. others: names that are not of
    the request, and ignored.

    Raises:
        InputError: a parameter is unknown, given twice or out of range, or all of them ask for nothing.
    """
    given: dict[str, Any] = {}
    for name, value in params:
        if not value or name in others:
            continue
        field, _, expert = name.partition(".")  # weights.audio=0.7, which a form can send
        if name in ("also", "less"):
            weight, sentence = _term(value)
            given.setdefault("also", []).append(
                {"weight": -weight if name == "less" else weight, "sentence": sentence}
            )
        elif name == "only":
            given.setdefault("only", []).append(value)
        elif field == "weights":
            expert, _, number = (expert, "", value) if expert else value.rpartition("=")
            if not expert:
                raise InputError(f"weights {name_id(value)} is not of the form EXPERT=NUMBER, such as audio=0.7")
            _once(given.setdefault("weights", {}), expert, number, "the weight of ")
        else:
            _once(given, RENAMED.get(name, name), value)
    return _checked(given, strict=False)


def request_of_json(body: bytes) -> tuple[Request, int]:
    """The same of a JSON body.

    Raises:
        InputError: it is no JSON object, or as `request_of`.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            _once(found, name, value)
        return found

    try:
        given = json.loads(body.decode(), object_pairs_hook=once)
    except InputError:
        raise
    except RecursionError:
        raise InputError("the body is nested too deeply") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"the body is not JSON: {error}") from None
    except ValueError:
        raise InputError("the body has a number of thousands of digits") from None
    if not isinstance(given, dict):
        raise InputError('the body must be a JSON object, such as {"sentence": "a dog"}')
    return _checked(given, strict=True)


def query_of(request: Request, size: int = SIZE) -> str:
    """The address's query for a request, urlencoded: `request_of` reads the same. Defaults are left out."""
    pairs: list[tuple[str, str]] = [] if request.sentence is None else [("q", request.sentence)]
    for weight, sentence in request.also:
        plain = abs(weight) == 1 and not WEIGHTED.fullmatch(sentence)
        pairs.append(("less" if weight < 0 else "also", sentence if plain else f"{abs(weight)!r}*{sentence}"))
    pairs += [("only", name) for name in request.only]
    pairs += [("weights", f"{name}={weight!r}") for name, weight in request.weights.items()]
    for name, field in Search.model_fields.items():
        value = size if name == "size" else getattr(request, name)
        if name not in (*LISTS, "sentence") and value != field.default:
            pairs.append((name, "1" if value is True else str(value)))
    return urlencode(pairs)


def _term(value: str) -> tuple[float, str]:
    try:
        return term_of(value)
    except InputError as error:
        raise InputError(FLAG.sub(r"\1", str(error))) from None


def _once(given: dict[str, Any], name: str, value: Any, what: str = "") -> None:
    if name in given:
        raise InputError(f"{what}{name_id(name)} is given twice; give it once")
    given[name] = value


def _checked(given: dict[str, Any], *, strict: bool) -> tuple[Request, int]:
    try:
        return Search.model_validate(given, strict=strict).request()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    raise InputError(sentence_of(first, first["loc"]))


def sentence_of(error: Mapping[str, Any], place: Sequence[int | str]) -> str:
    """An error of pydantic, at a field, as a sentence."""
    name = ".".join(map(str, place))
    if error["type"] == "extra_forbidden":
        return (
            f"there is no parameter {name_id(name)}{did_you_mean(name[:80], [*Search.model_fields, 'q', 'less'])}"
        )
    reason = SHOULD.sub("must ", error["msg"]) if error["type"] != "missing" else "must be given"
    if error["type"] == "string_pattern_mismatch":
        reason = "holds a NUL character; take it out"
    elif not reason.startswith("must "):
        reason = "cannot be used"
    got = f", got {name_id(str(error['input'])[:200])}" if isinstance(error["input"], str | int | float) else ""
    return f"{name_id(name)} {reason}{got}"


# ---- what is answered, for the OpenAPI document


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
    count: int = Field(description="how many are ranked in all")
    first: int = Field(description="rank of the first one here")
    next: str | None = Field(description="token of the following page")
    before: str | None = Field(description="token of the page before")
    weights: dict[str, float] = Field(description="of the experts, for a clip that has all of them")
    notes: list[str]
    hits: list[Hit] | None = Field(None, description="unless by_video")
    videos: list[Video] | None = Field(None, description="if by_video")


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
    503: "too much is asked at once; Retry-After says when to ask again",
}


REF = "#/components/schemas/{model}"


def documented(answer: Any, *statuses: int, query: bool = False, body: Mapping[str, Any] | None = None) -> Any:
    """How a route is documented: its answer, errors of its own, whether it takes a request, schemas of a body."""
    good = answer if isinstance(answer, dict) else {"model": answer}
    extra: dict[str, Any] = {"parameters": parameters()} if query else {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {kind: {"schema": its} for kind, its in body.items()}}
    return {"responses": {200: good, **{status: {} for status in statuses}}, "openapi_extra": extra}


def parameters() -> list[dict[str, Any]]:
    """Those of a request in an address, for the OpenAPI document."""
    found, text = [], {"type": "string", "minLength": 1, "maxLength": 2000}
    for name, kind in Search.model_json_schema()["properties"].items():
        about, kind = kind.pop("description"), kind.get("anyOf", [kind])[0]
        if name in LISTS:
            kind = {"type": "array", "items": text, "maxItems": NAMES if name == "only" else TERMS - 1}
        found.append({"name": name, "in": "query", "description": about, "schema": kind})
    found[0]["name"] = "q"
    found[1]["description"] += ", such as 0.5*at night"
    return [*found[:2], found[1] | {"name": "less", "description": "sentences that lower the score"}, *found[2:]]


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
