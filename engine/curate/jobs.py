"""What a curation worker is told and what it returns."""

from __future__ import annotations

from pydantic import Field

from engine.base.record import Record
from engine.config import Device, Profile, Share
from engine.curate.types import GoldenSources, PairCounts, TargetPattern, TaughtRows
from engine.generate.types import PreparedBase, Weights


class RehearseJob(Record):
    """Rows of another domain to mix in."""

    domain: str
    domain_digest: str
    share: Share
    """Of the length of the answers in the domain's own rows, in characters."""


class RowLosses(Record):
    """What a training left of its rows' losses."""

    path: str
    """Absolute; the store's artifact."""
    digest: str
    """SHA-256 of that file."""


class CurateJob(Record):
    """One training set to make."""

    domain_digest: str
    """Of the compiled domain: its pool, suite, contract and near-duplicate threshold."""
    patterns: tuple[TargetPattern, ...]
    """What the set is aimed at; none for an even draw."""
    max_rows: int = Field(ge=8)
    replay_share: Share
    seed: int
    taught: TaughtRows | None = None
    """A teacher's answers, taught in the place of labels; null teaches the labels."""
    notes: tuple[str, ...] = ()
    """What is to be said of the choice between them, in sentences; joins the reasons."""
    rehearse: RehearseJob | None = None
    judged_by: tuple[RowLosses, ...] = ()
    """Earlier trainings on rows of this pool, oldest first; a row whose label the last of them that it took part in makes doubtful is set aside."""


class CurateOutput(Record):
    """What a curation run leaves behind."""

    rows: int
    """Lines of the dataset; a repeated row counts each time."""
    distinct_rows: int
    aimed: int
    replay: int
    rehearsed: int = 0
    """Rows of another domain."""
    set_aside: int = 0
    """Rows of the pool whose label is doubtful."""
    per_pattern: dict[str, int]
    reasons: tuple[str, ...]
    compared: int
    """Evaluation items that the leakage guard compared every row with."""
    dataset: str
    """SHA-256 of the rows."""
    domain: str
    """Digest of the compiled domain."""
    suite: str
    """Digest of the suite that the rows are kept apart from."""
    taught: int = 0
    """Distinct rows that carry a teacher's answer."""
    answers: str | None = None
    """Digest of the teacher's answers."""


class PairsJob(Record):
    """Pairs to make from the incumbent's answers to training prompts."""

    domain_digest: str
    dataset: str
    """Absolute path of the curated rows whose prompts are asked; the store's artifact."""
    dataset_digest: str
    """SHA-256 of that file."""
    model: str
    """Name of the profile."""
    profile: Profile
    base: PreparedBase | None
    weights: Weights | None
    """The incumbent's; null asks the base."""
    subject: str
    """`base` or a version id."""
    golden: GoldenSources | None = None
    """A teacher's golden answers, preferred where a prompt has one; null where there are none."""
    max_prompts: int = Field(default=160, ge=1)
    samples: int = Field(default=2, ge=1)
    """Answers to each prompt: the first greedy, the others drawn."""
    temperature: float = Field(default=0.8, gt=0)
    per_row: int = Field(default=2, ge=1)
    """Pairs from one row at most."""
    least_pairs: int = Field(default=8, ge=1)
    """With fewer the run is refused (NothingToLearn)."""
    least_passed: Share = 0.1
    """Share of answers that must pass; below it the model needs examples."""
    seed: int
    device: Device


class PairsOutput(Record):
    """What a run of kind `pairs` leaves behind."""

    counts: PairCounts
    subject: str
    weights: str
    """Digest of the weights that answered."""
    rows_from: str
    """Digest of the curated set."""
    golden: str | None = None
    """Version of the golden answers that could be preferred,"""
    golden_from: tuple[str, ...] = ()
    """and digests of the results that hold them."""
    pairs: str
    """SHA-256 of the pairs."""
    domain: str
    """Digest of the compiled domain."""
    suite: str
    """Digest of the suite that the rows are kept apart from."""
