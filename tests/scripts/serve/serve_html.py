"""A page as elements, for tests: every tag is closed, nothing in it could run, and no link leaves the server."""

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "img", "br"}


class Element:
    def __init__(self, tag, attrs):
        self.tag, self.attrs, self.text = tag, attrs, ""
        self.classes = (attrs.get("class") or "").split()
        self.inside = []

    def all(self, tag=None, kind=None, **attrs):
        """Elements in it, in order."""
        return [
            each
            for each in self.inside
            if tag in (None, each.tag)
            and (kind is None or kind in each.classes)
            and attrs.items() <= each.attrs.items()
        ]

    def one(self, *which, **attrs):
        (found,) = self.all(*which, **attrs)
        return found


class Document(HTMLParser):
    """HTML as elements; `top` has all of them inside."""

    def __init__(self, text):
        super().__init__()
        self.top, self.open = Element("", {}), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        found = Element(tag, dict(attrs))
        assert len(attrs) == len(found.attrs), f"an attribute twice: {attrs}"
        assert not any(name.startswith("on") or name == "style" for name in found.attrs)
        assert tag not in ("style", "iframe", "object")
        assert tag != "script" or found.attrs == {"type": "module", "src": "/static/main.js"}
        assert all(found.attrs.get(name, "/").startswith(("/", "#")) for name in ("href", "src", "action"))
        for each in (self.top, *self.open):
            each.inside.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        for each in (self.top, *self.open):
            each.text += data
