"""Amounts of money, wherever a file names one."""

from __future__ import annotations

from pydantic import Field

from engine.base.record import Record


class Money(Record):
    """An amount in a currency."""

    amount: float = Field(gt=0, lt=1_000_000)
    """In whole units of the currency, such as 2.49."""
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    """Its ISO 4217 code, such as `EUR`."""
