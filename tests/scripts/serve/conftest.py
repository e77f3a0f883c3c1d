"""Small indexes whose text side encodes a sentence the same in any company; a library, and a browser to see it."""

import shutil

import pytest
import torch
from filelock import FileLock

from index import Entries, IndexWriter, Origin, Searcher
from index.text_export import write_text_side
from mee.checkpoint import fingerprint
from mee.encode import encode_gallery
from mee.model import MEE
from mee.text.tokenizer import CaptionTokenizer
from mee.text.transformer import TransformerEncoder
from tests.scripts.serve import serve_browser, serve_world

KNOWN = ("a dog", "rain falls", "the drums", "a blue square")


def build(place, seed, videos, model_config, make_source):
    """A folder with a model and an index of clips, each with a number."""
    torch.manual_seed(seed)
    tokenizer = CaptionTokenizer.learn(list(KNOWN) * 9, 300, 12)
    model = MEE(model_config, TransformerEncoder(model_config.text, tokenizer)).eval()
    model.save_pretrained(place / "model")
    source = make_source(videos)
    clips = source.clips.assign(number=range(len(source.clips)))
    origin = Origin(str(place / "model"), fingerprint(place / "model"), "store")
    with IndexWriter.create(place / "index", model.layout, origin) as writer:
        writer.put_text(lambda aside: write_text_side(aside, model))
        writer.put(Entries.of(encode_gallery(model, source, list(clips.index)), clips, model.layout))
    return place / "index"


@pytest.fixture(scope="module")
def two(tmp_path_factory, model_config, make_source):
    """Indexes of two models with other clips."""
    places = [tmp_path_factory.mktemp(name) for name in "vw"]
    names = [[f"v{number:02d}.mp4" for number in range(12)], [f"w{number:02d}.mp4" for number in range(9)]]
    return [build(place, n, names[n], model_config, make_source) for n, place in enumerate(places)]


@pytest.fixture
def directory(two, tmp_path):
    return shutil.copytree(two[0], tmp_path / "index")


@pytest.fixture
def searcher(directory):
    return Searcher.load(directory)


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
def origin(driver, library):
    """The address of `mee serve` over the library."""
    with serve_browser.serving(library.index, "--videos", library.videos) as origin:
        yield origin


@pytest.fixture
def tab(driver, origin):
    """A tab, checked at the end."""
    tab = serve_browser.Tab(driver, origin)
    yield tab
    tab.check()
