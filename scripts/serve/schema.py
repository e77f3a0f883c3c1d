"""What is asked, in addresses and in JSON: one schema, which the OpenAPI document shows.

q=a dog&also=0.5*at night&less=a cat&weights=audio=0.7&size=24    words as on the command line
good=ID&bad=ID&closer=KEY.KEY                                      clips; two of them by their keys
{"sentence": "a dog", "also": [{"weight": 0.5, "sentence": "at night"}, …], "weights": {"audio": 0.7}, …}
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from index import Request
from index.request import MARKS
from mee.errors import InputError, did_you_mean, name_id
from scripts.search import WEIGHTED, term_of
from scripts.serve.asked import TERMS, TOP, key_of, name_of

SIZE = 24  # hits on a page, by default
NAMES = 64  # experts that a request names, at most
OFFSET = 10_000  # of the best that are passed over, at most
RENAMED = {"q": "sentence"}  # names in addresses of fields
LISTS = ("also", "less", "then", "only", "good", "bad", "closer", "weights")
FLAG = re.compile(r"--(said|written|min-score|less|then|within|bad|closer)\b")
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
    then: list[Sentence] = Field([], max_length=3, description="what comes next in the same video, in order")
    within: float = Field(60.0, ge=0, description="seconds from one moment to the next, at most, with then")
    like: Name | None = Field(None, description="id of a clip, or a video: find clips like it")
    example: Name | None = Field(None, description="name of an example that was given: find clips like it")
    good: list[Name] = Field([], max_length=MARKS, description="ids of clips that fit")
    bad: list[Name] = Field([], max_length=MARKS, description="ids of clips that do not fit; they are not found")
    closer: list[Annotated[list[Name], Field(min_length=2, max_length=2)]] = Field(
        [],
        max_length=MARKS,
        description="pairs of ids: the first is closer to what is meant, the other is not found",
    )
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
    offset: int = Field(0, ge=0, le=OFFSET, description="how many of the best are passed over")
    sort: Literal["score", "date", "length", "name"] = Field(
        "score", description="how the best are sorted; ranks are by score"
    )
    fold: bool = Field(False, description="of clips that look and sound alike only the best, and how many")
    min_score: float | None = Field(None, description="only hits that score so much or more")
    by_video: bool = Field(False, description="find videos: each once, with its best moments")
    moments: int = Field(3, ge=1, le=20, description="how many moments of each video, at most")
    plain: bool = Field(False, description="do not subtract the clips' offsets of test-time normalisation")
    exact: bool = Field(False, description="exact results also where the kind of the index may miss a clip")

    def request(self) -> tuple[Request, int]:
        """The request, and how many hits a page has."""
        fields = dict(self) | {"also": tuple((term.weight, term.sentence) for term in self.also)}
        fields |= {name: tuple(fields[name]) for name in ("then", "only", "good", "bad")}
        fields["closer"] = tuple((near, far) for near, far in self.closer)
        size = fields.pop("size")
        try:
            return Request(**fields), size
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
        elif name in ("then", "only", "good", "bad"):
            given.setdefault(name, []).append(value)
        elif name == "closer":
            given.setdefault(name, []).append([*map(name_of, value.split("."))])
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
    pairs += [(name, value) for name in ("then", "only", "good", "bad") for value in getattr(request, name)]
    pairs += [("closer", ".".join(map(key_of, pair))) for pair in request.closer]
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
    reason = SHOULD.sub("must ", error["msg"]).replace(" after validation", "")
    reason = reason if error["type"] != "missing" else "must be given"
    if error["type"] == "string_pattern_mismatch":
        reason = "holds a NUL character; take it out"
    elif not reason.startswith("must "):
        reason = "cannot be used"
    got = f", got {name_id(str(error['input'])[:200])}" if isinstance(error["input"], str | int | float) else ""
    return f"{name_id(name)} {reason}{got}"


def parameters() -> list[dict[str, Any]]:
    """Those of a request in an address, for the OpenAPI document."""
    found, text = [], {"type": "string", "minLength": 1, "maxLength": 2000}
    for name, kind in Search.model_json_schema()["properties"].items():
        about, kind = kind.pop("description"), kind.get("anyOf", [kind])[0]
        if name in LISTS:
            kind = {"type": "array", "items": text, "maxItems": kind.get("maxItems", TERMS - 1)}
        found.append({"name": name, "in": "query", "description": about, "schema": kind})
    found[0]["name"] = "q"
    found[1]["description"] += ", such as 0.5*at night"
    next(each for each in found if each["name"] == "closer")["description"] += ", each written as KEY.KEY"
    return [*found[:2], found[1] | {"name": "less", "description": "sentences that lower the score"}, *found[2:]]
