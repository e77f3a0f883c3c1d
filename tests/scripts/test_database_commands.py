"""mee index, search and serve of an index in PostgreSQL; its password is never shown."""

from contextlib import suppress

import pytest

pytest.importorskip("psycopg")
SECRET = "geheim"


@pytest.fixture
def url(postgres, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return postgres.fresh().replace("postgres@", f"postgres:{SECRET}@")


@pytest.mark.slow
def test_an_index_in_a_database_is_made_updated_and_searched(world, url, prints, fails, capsys):
    from scripts.build_index import main as index
    from scripts.explain import main as explain
    from scripts.gallery import main as gallery
    from scripts.search import main as search

    said = "".join(prints(index, world.store, world.model, url))
    assert "10 clips in the index, 10 of them new" in said
    for words in (["number 3"], ["number 3", "--by-video"], ["--like", "clip2.mp4"], ["up", "--then", "on"]):
        out, err = prints(search, url, *words, "--json", "--verbose")
        assert out == prints(search, world.index, *words, "--json")[0]
        said += out + err
        assert "without torch" in err or "model" not in err
    again = prints(index, world.store, world.model, url, "--prune")
    assert "10 clips in the index, 0 of them new" in again[0]
    said += "".join(again)
    said += fails(gallery, "list", url) + fails(
        index, world.store, world.model, url, "--kind", "fastscan", alone=False
    )
    said += "".join(prints(explain, url, "number 3"))
    for wrong in ([url, "a", "--bogus"], [f"{url}:x", "a"], [url.replace("/base", "/none"), "a"]):
        with suppress(SystemExit):
            assert search(wrong) == 1
        said += "".join(capsys.readouterr())
    assert SECRET not in said


def test_the_password_is_no_part_of_what_is_shown():
    from mee.errors import visible

    for url in (f"postgresql://u:{SECRET}@h:5/d?x=1", f"postgres://u:{SECRET}@h", f"h?password={SECRET}&postgres"):
        assert SECRET not in visible(f"'{url}' is wrong")
        assert visible(url).replace(":5", "") in ("postgresql://u@h/d?x=1", "postgres://u@h", "h?&postgres")
