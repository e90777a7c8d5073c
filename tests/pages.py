"""What a page for people must be, whoever wrote the texts on it: well-formed, without anything that runs or is fetched."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = ("meta", "link", "img", "br", "rect", "line", "circle")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_harmless(page: str) -> None:
    """Every tag is closed in its turn, nothing runs, nothing is loaded, and the page's own policy says so."""
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    assert not {"script", "img", "iframe", "link", "object", "form", "base"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert "default-src 'none'" in page
