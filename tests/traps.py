"""Files that do harm when they are loaded or unpacked rather than read as bytes."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

SPARSE_BYTES = 1 << 40
"""More than any machine that runs these tests can hold."""


class _Sprung:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.marker),)


def pickle_trap(marker: Path) -> bytes:
    """A pickle that makes the folder `marker` when somebody loads it."""
    return pickle.dumps(_Sprung(marker))


def zip_bomb(marker: Path) -> bytes:
    """A zip of a few kilobytes that unpacks to 64 MiB, with a member that would come to lie at `marker`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 << 20))
        archive.writestr(f"../../../../../../../..{marker}", b"")
    return packed.getvalue()


def grow(path: Path) -> None:
    """Makes a file a terabyte long that takes no room on the disk."""
    with path.open("r+b") as stream:
        stream.truncate(SPARSE_BYTES)
