"""Who may ask, and what browsers may do with the answers: the guard around the app, with no index behind it."""

import asyncio
import logging
import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import Request, Response

from mee.errors import InputError
from scripts.serve import security
from scripts.serve.app import Settings, create_app
from scripts.serve.security import BODY, cookie_of, host_of
from tests.scripts.serve.serve_client import TOKEN, Client

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HTML = {"Accept": "text/html,*/*;q=0.8"}


def app_of(**settings):
    """An app with a route that fails, and one that tells the length of its body; nothing can be searched."""
    app = create_app(SimpleNamespace(health=lambda: {"ok": True}), Settings(**settings))

    @app.get("/api/fails")
    async def fails(what: str = ""):
        raise {"input": InputError("it is wrong")}.get(what) or ZeroDivisionError(f"secret {TOKEN}\x1b[2J")

    @app.post("/api/length")
    async def length(request: Request):
        return len(await request.body())

    @app.get("/api/clips/own/headers")
    async def own():
        return Response(headers={"X-Frame-Options": "DENY", "Cache-Control": "private"})

    return app


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def client(runner):
    return Client(app_of(hosts=("localhost", "127.0.0.1", "[::1]", "Archive.Example.org.")), runner)


@pytest.fixture
def closed(runner):
    """It needs a token."""
    return Client(app_of(token=TOKEN), runner)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8765", "localhost.", "localhost.:1", "127.0.0.1:8765", "[::1]", "[::1]:80",
     "localhost:", "archive.example.org", "ARCHIVE.example.org.:443"],
)  # fmt: skip
def test_names_that_are_allowed(client, host):
    assert client("/healthz", headers={"Host": host}).json() == {"ok": True}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:8765", "", "localhost@evil.example", "localhost/evil",
     "127.0.0.2", "[::2]", "::1", "[::1", "localhost..", "localhost:80:80", "localhost:x", "localhost,evil",
     "xlocalhost", "local host", " localhost", "archive.example.org.evil", "[localhost]", "0",
     "2130706433", "localhost\u00df"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/healthz", "/static/page.css", "/api/nowhere", "/login"])
def test_another_name_is_refused_everywhere(client, host, path):
    answer = client(path, headers={"Host": host.encode("latin-1")})
    assert (answer.status_code, "--allow-host" in answer.text) == (421, True)


def scope_of(*headers, method="GET", path="/healthz", **more):
    sent = [(name.lower().encode(), value.encode()) for name, value in headers]
    made = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    return made | {"headers": sent, "http_version": "1.1", "scheme": "http"} | more


async def status_of(app, scope, *messages):
    """The status of an answer to what httpx would not send; None: there was no answer."""
    sent, given = [], [*messages, {"type": "http.disconnect"}]

    async def receive():
        return given.pop(0) if given else await asyncio.Future()

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0].get("status") if sent else None


@pytest.mark.parametrize(
    ("headers", "more", "status"),
    [
        ([], {}, 421),
        ([("Host", "localhost"), ("Host", "localhost")], {}, 421),
        ([("Host", "localhost"), ("Host", "evil.example")], {}, 421),
        ([("Host", "localhost")], {"path": "http://evil.example/healthz"}, 400),
        ([("Host", "localhost")], {"path": "*", "method": "OPTIONS"}, 400),
        ([("Host", "localhost")], {"path": "//evil.example/healthz"}, 404),
        ([("Host", "localhost"), ("X-Forwarded-Host", "evil.example")], {}, 200),
        ([("Host", "evil.example"), ("X-Forwarded-Host", "localhost")], {}, 421),
        ([("Host", "localhost")], {"type": "websocket"}, None),
    ],
)
def test_odd_targets_and_headers(runner, client, headers, more, status):
    assert runner.run(status_of(client.app, scope_of(*headers, **more))) == status


def test_a_token_opens_what_is_closed(closed):
    for path in ("/", "/api/info", "/metrics", "/docs", "/api/openapi.json", "/nowhere", "/api/clips/a/media"):
        assert closed(path).status_code == 401
        assert closed(path).headers["www-authenticate"] == "Bearer"
    assert [closed(path).status_code for path in ("/healthz", "/login", "/static/page.css")] == [200] * 3
    for given in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
        assert closed("/docs", headers={"Authorization": given}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer \u00df"},
        {"Authorization": f"Bearer {TOKEN.upper()}"}, {"Cookie": f"mee={TOKEN}"}, {"Cookie": "mee="},
        {"Cookie": f"other={cookie_of(TOKEN.encode())}"}, {"Cookie": f"mee={cookie_of(b'another-token-of-many')}"},
        {"X-Token": TOKEN},
    ],
)  # fmt: skip
def test_a_wrong_token_opens_nothing(closed, headers):
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    assert closed("/docs", headers=encoded).status_code == 401
    assert closed(f"/docs?token={TOKEN}").status_code == 401


def test_the_token_is_compared_in_constant_time(closed, monkeypatch):
    compared = []
    monkeypatch.setattr(security, "compare_digest", lambda *both: compared.append(both) or False)
    closed("/docs", headers={"Authorization": f"Bearer {TOKEN}", "Cookie": "mee=x"})
    closed("/login", "POST", data={"token": TOKEN})
    right = TOKEN.encode()
    assert compared == [(right, right), (b"x", cookie_of(right).encode()), (right, right)]


def test_signing_in_sets_a_cookie_that_is_not_the_token(closed):
    asked = closed("/clip/a?q=%22%3E%3Cb&x=1", headers=HTML)
    assert asked.status_code == 401
    assert 'value="/clip/a?q=%22%3E%3Cb&amp;x=1"' in asked.text
    wrong = closed("/login", "POST", data={"token": "not this", "next": "/clip/a"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    assert 'value="/clip/a"' in wrong.text
    answer = closed("/login", "POST", data={"token": f" {TOKEN}\n", "next": "/clip/a?q=b"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/clip/a?q=b")
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "Path=/", "SameSite=strict"} == {*flags}
    assert TOKEN not in answer.headers["set-cookie"]
    assert closed("/docs", headers={"Cookie": f"a=b; {cookie}; c=d"}).status_code == 200
    over_https = {"Origin": "https://localhost", "Host": "localhost"}
    assert "Secure" in closed("/login", "POST", data={"token": TOKEN}, headers=over_https).headers["set-cookie"]


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "", "evil", "/a\r\nX: y", "/\t/evil.example",
     "/\u00e9", "javascript:alert(1)", "/" + "a" * 9000],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(closed, client, path):
    for asked in (closed, client):  # where no token is needed, too
        assert asked("/login", "POST", data={"token": TOKEN, "next": path}).headers["location"] == "/"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200), ({"Origin": "http://localhost"}, 200), ({"Origin": "HTTP://LOCALHOST"}, 200),
        ({"Origin": "http://localhost:3000"}, 403), ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403), ({"Origin": "http://127.0.0.1"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)  # fmt: skip
def test_pages_of_other_sites_send_nothing_here(client, headers, status):
    assert client("/api/length", "POST", headers=headers).status_code == status
    if status == 200 or "Sec-Fetch-Site" in headers:
        assert client("/healthz", headers=headers).status_code == status
    assert client("/healthz", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).is_success


def test_a_body_is_64_kib_at_most_however_it_is_sent(runner, client):
    assert client("/api/length", "POST", content=b"x" * BODY).json() == BODY
    assert client("/api/length", "POST", content=b"x" * (BODY + 1)).status_code == 413
    for path in ("/api/search", "/api/export", "/login", "/nowhere"):
        assert client(path, "POST", content=b"x" * (BODY + 1)).status_code == 413

    async def endless():
        while True:
            yield b"x" * 1000

    assert client("/api/length", "POST", content=endless()).status_code == 413
    assert client("/healthz", content=endless()).status_code == 413
    scope = scope_of(("Host", "localhost"), method="POST", path="/api/length")
    half = {"type": "http.request", "body": b"x", "more_body": True}
    assert runner.run(status_of(client.app, scope, half)) == 400  # who sends has gone: nothing is done


def test_a_slow_body_is_not_waited_for(monkeypatch, client):
    monkeypatch.setattr(security, "BODY_S", 0.05)

    async def never():
        yield b"x"
        await asyncio.Future()

    assert client("/api/length", "POST", content=never()).status_code == 408


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "NONSENSE"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/api/search", "/static/page.css", "/login"])
def test_other_methods_are_refused(client, method, path):
    answer = client(path, method)
    assert answer.status_code == (200 if (method, path) == ("HEAD", "/static/page.css") else 405)
    assert method == "HEAD" or answer.json()["error"]


def test_errors_are_a_sentence_and_a_page_for_browsers(client):
    assert client("/nowhere").json() == {"error": "there is nothing at this address; start at /, or read /docs"}
    page = client("/nowhere", headers=HTML)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "start at /" in page.text
    assert client("/api/nowhere", headers=HTML).json()
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fapp.py", "/static//etc/passwd",
                 "/static/%00", "/static/", "/static", "/api/info/", "/%00", "/" + "a" * 5000):  # fmt: skip
        assert client(path).status_code == 404


def test_a_header_that_a_route_sets_is_sent_once(client):
    assert client("/api/clips/own/headers").headers["cache-control"] == "private"


def test_what_fails_is_logged_once_and_told_in_a_sentence(client, caplog, capsys):
    assert client("/api/fails?what=input").json() == {"error": "it is wrong"}
    assert caplog.records == []
    answer = client("/api/fails")
    assert (answer.status_code, answer.json()) == (500, {"error": "the server failed here; its log says why"})
    (record,) = caplog.records
    assert "ZeroDivisionError" in record.getMessage()
    assert record.levelno == logging.ERROR
    assert capsys.readouterr() == ("", "")


def test_the_token_is_in_no_log(closed, caplog):
    caplog.set_level(logging.DEBUG, "scripts")
    caplog.set_level(logging.DEBUG, "uvicorn")
    for path in ("/docs", "/nowhere", "/api/search?q="):
        closed(path, headers={"Authorization": f"Bearer {TOKEN}"})
        closed(path, headers={"Authorization": f"Bearer {TOKEN}x"})
    closed("/login", "POST", data={"token": TOKEN})
    closed("/login", "POST", data={"token": f"{TOKEN}x"})
    assert TOKEN not in caplog.text
    assert TOKEN not in closed("/api/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).text


def test_names_of_hosts():
    assert [host_of(name) for name in ("A.b", "a.:1", "[::1]:2", "a b", "a" * 99_999 + "@")] == [
        "a.b",
        "a",
        "[::1]",
        "",
        "",
    ]


def test_over_a_socket(client):
    """What the server below answers by itself, and that it ends a connection whose body it has not read."""
    config = uvicorn.Config(client.app, log_config=None, server_header=False, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        port = listener.getsockname()[1]

        def told(*parts):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
                for part in parts:
                    peer.sendall(part)
                answer = b""
                with suppress(ConnectionResetError):  # it does not read all that is sent
                    while got := peer.recv(1 << 16):
                        answer += got
            return answer.lower()

        try:
            while not server.started:
                time.sleep(0.01)
            end = b"Connection: close\r\n\r\n"
            assert told(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + end).startswith(b"http/1.1 200")
            assert told(b"GET /healthz HTTP/1.1\r\n" + end).startswith(b"http/1.1 4")
            assert told(b"GET http://evil/healthz HTTP/1.1\r\nHost: localhost\r\n" + end).startswith(
                b"http/1.1 400"
            )
            post = b"POST /api/length HTTP/1.1\r\nHost: localhost\r\n"
            told_length = told(post + b"Content-Length: 9000000\r\n\r\n", b"x" * (BODY + 1))
            assert told_length.startswith(b"http/1.1 413")
            assert b"x-frame-options: deny" in told_length
            chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
            assert told(post + b"Transfer-Encoding: chunked\r\n\r\n", chunk, b"1\r\nx\r\n").startswith(
                b"http/1.1 413"
            )
            assert told(b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n").partition(b" ")[2][:1] in (b"", b"4")
            assert told(b"nonsense\r\n\r\n").startswith(b"http/1.1 400")
        finally:
            server.should_exit = True
            thread.join()
