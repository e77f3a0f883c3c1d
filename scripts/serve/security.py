"""Security: who may ask, under which name, how much at once; and what browsers may do with the answers.

    Host, one that is allowed -> no other site asks -> token -> body of 64 KiB at most -> the app -> headers
                                                             (of a file: 20 MiB)

A page of another site cannot read answers (no CORS), cannot ask at all where its browser says so, and cannot get
here by a name of its own (DNS rebinding): Host is compared with a list. The token comes as `Authorization:
Bearer`, or as a cookie that holds a keyed hash of it. /healthz, /login and /static/ need none.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import traceback
from collections.abc import Collection
from contextlib import nullcontext
from secrets import compare_digest
from typing import final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scripts.serve.rendering import rendered

log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)
BODY, FILE, AT_ONCE = 64 << 10, 20 << 20, 4  # bytes of a body, and of one that is a file; so many of these at once
FILES = "/api/examples"  # where bodies are files
BODY_S, FILE_S = 20.0, 120.0  # for all of it to arrive
TOO_LONG = f"the body is longer than {BODY >> 10} KiB; ask for less at a time"
TOO_LARGE = f"the file is larger than {FILE >> 20} MiB; cut out the moment that you mean"
BUSY = "other files are read at this moment; ask again in 10 s"
COOKIE = "mee"
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:\[\]/@?#\\]+?)\.?(?::\d{0,5})?")
OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,8000}")  # of this origin, however a browser reads it
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (name.lower().encode(), value.encode())
    for name, value in {
        "Content-Security-Policy": CSP,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Referrer-Policy": "same-origin",  # not no-referrer: with it a form would be sent with `Origin: null`
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }.items()
]
OPENLY = ("/healthz", "/login")


def host_of(value: str) -> str:
    """The name in a Host header, without its port, in lower case; empty where it is malformed."""
    found = HOST.fullmatch(value.lower())
    return found[1] if found else ""


def refusal(scope: Scope, status: int, sentence: str, **headers: str) -> Response:
    """One sentence: a page where a browser asks for one, else JSON."""
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    response: Response
    if b"text/html" not in accepted or scope["path"].startswith("/api/"):
        response = JSONResponse({"error": sentence}, status)
    elif status == 401:
        query = scope["query_string"].decode("latin-1")
        path = scope.get("raw_path", b"").decode("latin-1") + (f"?{query}" if query else "")
        response = rendered("login.html.j2", 401, problem="", next=_own(path) if scope["method"] == "GET" else "/")
    else:
        known = status in (404, 503)  # the app answers, not the guard
        progress = scope["app"].state.settings.progress if known else None
        response = rendered("error.html.j2", status, status=status, sentence=sentence, progress=progress, clips="")
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


class _Refused(Exception):
    """What is answered in place of the app."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        self.status, self.sentence, self.headers = status, sentence, headers


@final
class Guard:
    """The outermost part of the app: refuses what may not be asked, and sets headers of every answer."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], token: str | None = None) -> None:
        """hosts: names under which it may be asked, such as localhost and [::1]; token: None: nobody needs one."""
        self.app = app
        self.hosts = frozenset(map(host_of, hosts)) - {""}
        self.token = None if token is None else token.encode()
        self.files = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        started, file = False, scope["path"] == FILES

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                static = scope["path"].startswith("/static/") and message["status"] in (200, 304)
                ours = [*HEADERS, (b"cache-control", b"no-cache" if static else b"no-store")]
                given = dict(message.get("headers", ()))
                message["headers"] = [*message["headers"], *(each for each in ours if each[0] not in given)]
            await send(message)

        try:
            self._check(scope)
            if file and self.files.locked():
                raise _Refused(503, BUSY, Retry_After="10", Connection="close")
            async with self.files if file else nullcontext():
                if scope["method"] not in ("GET", "HEAD") or _has_body(scope):
                    receive = await _whole(receive, FILE if file else BODY)
                await self.app(scope, receive, send_safely)
        except _Refused as refused:
            response = refusal(scope, refused.status, refused.sentence, **refused.headers)
            await response(scope, receive, send_safely)
        except Exception:
            log.error("a request failed:\n%s", traceback.format_exc().rstrip())
            if not started:
                sentence = "the server failed here; its log says why"
                await refusal(scope, 500, sentence)(scope, receive, send_safely)

    def _check(self, scope: Scope) -> None:
        given: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            given.setdefault(name, []).append(value)
        hosts = [value.decode("latin-1") for value in given.get(b"host", [])]
        if len(hosts) != 1 or host_of(hosts[0]) not in self.hosts:
            raise _Refused(421, "this server is not known by that name; add it with mee serve --allow-host NAME")
        if not scope["path"].startswith("/"):
            raise _Refused(400, "the address must start with /")
        origins = [value.decode("latin-1").lower() for value in given.get(b"origin", [])]
        if scope["method"] not in ("GET", "HEAD") and any(
            origin.partition("://")[2] != hosts[0].lower() for origin in origins
        ):
            raise _Refused(403, "only this server's own pages may send here; open its address in the browser")
        from_elsewhere = given.get(b"sec-fetch-site", [b""])[0] in (b"cross-site", b"same-site")
        if from_elsewhere and given.get(b"sec-fetch-mode", [b""])[0] != b"navigate":
            raise _Refused(403, "only this server's own pages may load this; open its address in the browser")
        path = scope["path"]
        if self.token is not None and not (path in OPENLY or path.startswith("/static/") or self._knows(given)):
            sentence = (
                "the token is missing or wrong; send it as Authorization: Bearer TOKEN, or sign in at /login"
            )
            raise _Refused(401, sentence, WWW_Authenticate="Bearer")

    def _knows(self, given: dict[bytes, list[bytes]]) -> bool:
        """Whether a request brings the token; every comparison takes as long as the next."""
        assert self.token is not None
        right = False
        for value in given.get(b"authorization", []):
            scheme, _, token = value.partition(b" ")
            right |= scheme.lower() == b"bearer" and compare_digest(token.strip(), self.token)
        for part in b";".join(given.get(b"cookie", [])).split(b";"):
            name, _, found = part.strip().partition(b"=")
            right |= name == COOKIE.encode() and compare_digest(found, cookie_of(self.token).encode())
        return right


def cookie_of(token: bytes) -> str:
    """The cookie of whoever has signed in: who reads it does not learn the token."""
    return hmac.digest(token, b"the cookie of mee serve", hashlib.sha256).hex()


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _whole(receive: Receive, most: int) -> Receive:
    """Read the body, and give it again."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S if most == BODY else FILE_S):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":  # the client has gone: nobody reads this
                    raise _Refused(400, "the body was cut short")
                body += message.get("body", b"")
                if len(body) > most:
                    sentence = TOO_LONG if most == BODY else TOO_LARGE
                    raise _Refused(413, sentence, Connection="close")
                more = message.get("more_body", False)
    except TimeoutError:
        raise _Refused(408, "the body did not arrive in time; send it again", Connection="close") from None
    again = [bytes(body)]

    async def given() -> Message:
        if again:
            return {"type": "http.request", "body": again.pop(), "more_body": False}
        return await receive()

    return given


def _own(path: str) -> str:
    return path if OWN_PATH.fullmatch(path) else "/"


@router.get("/login")
async def ask_token() -> Response:
    """The form for the token."""
    return rendered("login.html.j2", problem="", next="/")


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """Compare the token, and set the cookie."""
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    token, path = request.app.state.settings.token, _own(form.get("next", "/"))
    if token is None:
        return RedirectResponse(path, 303)
    if not compare_digest(form.get("token", "").strip().encode(), token.encode()):
        problem = "This is not the token; copy it again from the file."
        return rendered("login.html.j2", 401, problem=problem, next=path)
    response = RedirectResponse(path, 303)
    secure = request.headers.get("origin", "").startswith("https:")  # a server in front of this one speaks it
    response.set_cookie(COOKIE, cookie_of(token.encode()), httponly=True, samesite="strict", secure=secure)
    return response
