"""Elements: no text from a file becomes markup."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from scripts.report.elements import Html, element, free, joined


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def test_an_element():
    made = element("p", "a < b", element("br"), class_="x", aria_label='"q"', hidden=True, title=None, x1=2.50)
    assert made == '<p class="x" aria-label="&quot;q&quot;" hidden x1="2.5">a &lt; b<br></p>'


def test_control_characters_are_shown_and_lines_joined():
    assert joined("a\x1b[31m\x00b\n  c ") == "a\\x1b[31m\\x00b c "
    assert free("x") == "<bdi>x</bdi>"


@given(st.text())
def test_any_text_stays_text(text):
    reader = read(element("p", text, title=text))
    assert [tag for tag, _ in reader.tags] == ["p"]
    assert reader.tags[0][1][0][1] == reader.text
    assert not {"<", ">", '"'} & set(element("p", text)[3:-4])
    assert isinstance(element("p", text), Html)
