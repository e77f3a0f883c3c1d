"""One browser and one world a session; a page of its own a test, on which nothing may go wrong unseen."""

import pytest
from filelock import FileLock

from tests.scripts.serve import serve_browser, serve_world


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Paths of videos, store, model and index; workers of one run share them."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if root.name.startswith("popen-") else root
    place = root / "serve_world"
    with FileLock(f"{place}.lock"):
        place.mkdir(exist_ok=True)
        return serve_world.make_world(place)


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """Chromium."""
    if reason := serve_browser.missing():
        pytest.skip(reason)
    with serve_browser.chromium(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture(scope="session")
def origin(library):
    """The address of `mee serve` over the library."""
    with serve_browser.serving(library.index, "--videos", library.videos) as origin:
        yield origin


@pytest.fixture
def tab(driver, origin):
    """A tab, checked at the end."""
    tab = serve_browser.Tab(driver, origin)
    yield tab
    tab.check()
