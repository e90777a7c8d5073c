"""`modelsmith open`: the address of the pages about the atlas, as the running daemon has it."""

from __future__ import annotations

import argparse
import webbrowser

from engine.base.paths import Workspace
from server.atlas_pages.places import PLACES
from server.client import Client
from server.terminal import Told

NAMES = tuple(place.name for place in PLACES)


def open_page(arguments: argparse.Namespace, workspace: Workspace) -> Told:
    """The address of a page; with `--browser`, opened there too. Whoever has the address can read the pages."""
    url = Client(workspace).pages()["pages"][arguments.page]
    summary = f"{url}\nIt holds a code that opens the pages until the daemon stops: share it with nobody."
    if arguments.browser and not webbrowser.open(url):
        summary += "\nNo browser could be started here: open the address yourself."
    return Told({"summary": f"The page is at {url}.", "url": url}, summary)
