"""The decision history: answers about models, hardware and training that were kept, read, and set side by side."""

from __future__ import annotations

from typing import Any

from engine.atlas import records
from engine.errors import TooLarge
from engine.showing.decisions import decision_page, history_page, recorded
from engine.showing.pages import page_at
from engine.store.store import Store
from engine.views.atlas import DecisionHistory

MOST_BYTES = 1 << 20
"""Of an answer that is kept."""


class Recording:
    """The operations, over one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def record(self, question: str, arguments: dict[str, Any], answer: dict[str, Any], *, note: str, by: str) -> DecisionHistory:
        """Keeps an answer as the tool gave it."""
        kept = {name: value for name, value in answer.items() if name != "next"}
        if len(str(kept)) > MOST_BYTES:
            raise TooLarge(f"the answer has more than {MOST_BYTES} bytes", next_step="Ask for fewer entries with `limit`, and record that.")
        return recorded(records.decision(self.store, records.keep(self.store, question, arguments, kept, note=note, by=by)))

    def note(self, decision: str, *, note: str, by: str) -> DecisionHistory:
        """Adds a note to a decision."""
        records.add_note(self.store, decision, note=note, by=by)
        return recorded(records.decision(self.store, decision))

    def history(self, cursor: str | None, limit: int) -> DecisionHistory:
        """What was kept, newest first."""
        page, total = page_at(cursor, limit), records.count(self.store)
        return history_page(records.decisions(self.store, offset=page.start, limit=limit), total, page.next_cursor(total))

    def decision(self, name: str) -> records.DecisionRecord:
        """One of them, as it is kept."""
        return records.decision(self.store, name)

    def shown(self, name: str, now: dict[str, Any] | None, against: str | None) -> DecisionHistory:
        """One of them with its answer; beside it what the same question is answered `now`, or another decision."""
        other = None if against is None else records.decision(self.store, against)
        return decision_page(records.decision(self.store, name), now, other)
