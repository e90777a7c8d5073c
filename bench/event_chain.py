"""How long it takes to verify the event chain, the journal in which every line holds the hash of the one before it. Prints figures for people as
it goes, and one JSON document last.

    python -m bench.event_chain [--events 1000000] [--journal FILE]

Each event is a promotion with its gate, as the journal keeps one. The lines are written in bulk, without a sync for each; a journal that is named
stays, and one that was cut short is gone on with. Verified as every start verifies it: all checksums, all hashes, every line parsed. Then a byte
in the middle is altered, and the line that it is in must be named. Beside the time on the clock stands the processor's, which says what it costs
where others use the machine too. Peak memory is the process's own, and what verifying added to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.verify_bundle import timed
from engine.base.digests import digest_of, sha256_hex
from engine.config import PromotionPolicy
from engine.errors import StoreDamaged
from engine.promote.chains import chain_for
from engine.promote.types import Check
from engine.store.journal import Journal, encode

AT = "2026-11-21T00:00:00.000Z"
BUFFER_BYTES = 8 << 20


def promotion() -> dict[str, Any]:
    """A version enters shadow; which one is left to whoever counts."""
    transition = next(each for each in chain_for("standard", PromotionPolicy()).transitions if each.target == "shadow")
    sentence = "The challenger is above it by 0.061 [0.023, 0.099], n = 288."
    checks = [Check(name=name, passed=True, figure=0.061, limit=0.0, sentence=sentence) for name in transition.checks]
    return {
        "revision": 1,
        "chain": "standard",
        "transition": transition.model_dump(mode="json"),
        "checks": [check.model_dump(mode="json") for check in checks],
        "actor": "agent:mcp",
        "reason": "",
    }


def lines(after: int, head: str, events: int) -> Iterator[bytes]:
    """The lines that a journal lacks that ends with number `after`, whose last line has the hash `head`."""
    same = promotion()
    for seq in range(after + 1, events + 1):
        arguments = {**same, "cluster": f"cluster-{seq % 1000}", "version": f"v-{seq:012x}"}
        line = encode(seq=seq, at=AT, key=f"take-{seq}", op="take_transition", identity=digest_of(arguments), arguments=arguments, previous=head)
        head = sha256_hex(line)
        yield line


def fill(path: Path, events: int) -> None:
    """Brings a journal to so many events; one that has more is left as it is."""
    journal = Journal.open(path)
    journal.close()
    with path.open("ab", buffering=BUFFER_BYTES) as stream:
        stream.writelines(lines(journal.seq, journal.head, events))


def verify(path: Path) -> Journal:
    """The journal, verified as the store's start verifies it."""
    journal = Journal.open(path)
    journal.close()
    return journal


def line_refused(path: Path) -> int:
    """Alters a byte in the middle of the journal and puts it back; the number of the line that is refused, 0 where none is."""
    with path.open("r+b") as stream:
        middle = stream.seek(path.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(middle)
        stream.write(bytes([byte[0] ^ 1]))
        stream.flush()
        try:
            verify(path)
            return 0
        except StoreDamaged as refused:
            return int(refused.details["line"])
        finally:
            stream.seek(middle)
            stream.write(byte)


def peak_mib() -> float:
    """The most memory that this process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--journal", type=Path, help="a journal that stays; by default one in a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = options.journal or Path(folder) / "journal.jsonl"
        _, writing = timed("written", lambda: fill(path, options.events))
        before, busy = peak_mib(), time.process_time()
        journal, verifying = timed("verified", lambda: verify(path))
        peak, busy = peak_mib(), time.process_time() - busy
        altered, refusing = timed("an altered byte found", lambda: line_refused(path))
        size = path.stat().st_size
    document = {
        "bench": "event_chain",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "events": journal.seq,
        "bytes": size,
        "write_seconds": writing,
        "verify_seconds": verifying,
        "verify_cpu_seconds": round(busy, 2),
        "events_per_second": round(journal.seq / verifying),
        "peak_mib": round(peak),
        "verifying_added_mib": round(peak - before),
        "altered_line": altered,
        "refuse_seconds": refusing,
    }
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
