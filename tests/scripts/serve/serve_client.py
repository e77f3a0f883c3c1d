"""Requests to the app of `mee serve`, without a network: status, headers and content of each answer."""

import asyncio
from contextlib import contextmanager

import httpx

from scripts.serve.app import Settings, create_app
from scripts.serve.service import Service

TOKEN = "a-token-of-many-letters"
PROTECTED = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Client:
    """Asks one app; every answer has its headers, and an error is one sentence."""

    def __init__(self, app, runner: asyncio.Runner) -> None:
        self.app, self.runner = app, runner

    async def ask(self, path: str, method: str = "GET", **given) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.request(method, path, **given)
        headers = answer.headers
        assert {name: headers.get_list(name) for name in PROTECTED} == {n: [its] for n, its in PROTECTED.items()}
        assert "server" not in headers
        assert len(headers.get_list("cache-control")) == 1
        assert headers["cache-control"] == "no-store" or path.startswith("/static/") or "/api/clips/" in path
        if answer.status_code >= 400 and method != "HEAD" and headers["content-type"] == "application/json":
            error = answer.json()
            assert [*error] == ["error"]
            assert error["error"]
            assert "\n" not in error["error"]
            assert "Traceback" not in error["error"]
        return answer

    def __call__(self, path: str, method: str = "GET", **given) -> httpx.Response:
        return self.runner.run(self.ask(path, method, **given))


@contextmanager
def client_of(searcher, *, reload=None, **settings):
    """A client of an app over a searcher."""
    with asyncio.Runner() as runner:
        service = Service(searcher, reload=reload)
        runner.run(service.__aenter__())
        try:
            yield Client(create_app(service, Settings(**settings)), runner)
        finally:
            runner.run(service.__aexit__(None, None, None))
