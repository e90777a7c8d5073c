"""domain.yaml: the task, its rows, and what may be learnt from them; how answers are judged is in `judging.py`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from engine.base.record import Record
from engine.config.judging import Evaluation
from engine.config.money import Money
from engine.config.values import Identifier, Share


class Output(Record):
    """What an answer looks like."""

    kind: Literal["json", "text"] = "json"
    """`json` answers are parsed before they are checked."""
    json_schema: dict[str, Any] | None = None
    """JSON Schema of a `json` answer. Its property order is the order in which the model is taught to write."""
    structured: bool = True
    """Decode under the schema as a grammar. What that buys is measured and shown with every version's measurement."""
    max_tokens: int = Field(default=128, ge=1, le=32_768)
    """Longest answer; a longer one counts as truncated."""


class Contract(Record):
    """The task itself."""

    description: str
    """One sentence for people and agents."""
    system: str
    """System message, a Jinja2 template over the fields of a row's `input`. Sandboxed; an unknown field is an error."""
    user: str
    """User message, likewise."""
    output: Output = Output()


class Rows(Record):
    """One file of labelled rows and where in a row things stand. Paths in a row are dotted (`meta.intent`)."""

    path: str
    """JSON lines, relative to the domain's folder."""
    id: str | None = "id"
    """Field with a unique name; null numbers the rows."""
    input: str = "input"
    """Field with the input object (or text, which becomes `{"text": ...}`); `.` takes the whole row."""
    expected: str = "expected"
    """Field with the reference answer."""
    tags: str | None = "tags"
    """Field with an object of slice names to values."""
    source: str | None = "source"
    """Field naming where the row comes from: rows of one source stay in one split, and intervals cluster on it."""


class Splits(Record):
    """Shares of the evaluation rows. Core is for diagnosis, held-out for decisions, reserve is kept for later rotation."""

    core: Share = 0.4
    """For diagnosis: its items may be looked at. 0 for a suite that models are only measured on."""
    held_out: Share = 0.4
    """For decisions: only means, intervals and counts are ever shown."""
    reserve: Share = 0.2
    """Kept unused; it takes over by itself when the held-out items are worn out, and they become core."""
    stratify: str | None = None
    """Dotted path in a row's record (`expected.intent`, `tags.service`) whose values are spread evenly over the splits."""
    seed: int = 17
    """Changing it changes the suite's identity."""
    held_out_looks: int | None = Field(default=None, ge=1)
    """How many challengers may be measured on one held-out set; null takes what its size bears (`engine/evaluate/holdout.py`)."""
    when_spent: Literal["stop", "go_on"] = "stop"
    """What the loop does with a spent held-out set that has no reserve: stop choosing by it, or go on and say so."""


class Data(Record):
    """Where the rows are."""

    train: Rows | None = None
    """The training pool; null for a suite that models are only measured on."""
    evaluation: Rows
    """Rows that are only ever evaluated on. One with `"canary": true` expects what is wrong on purpose: it is in no split and in no score, and shows
    whether a trained version was taught this file (`engine/evaluate/canaries.py`)."""
    splits: Splits = Splits()
    near_duplicate: Share = 0.8
    """Jaccard similarity of character 5-grams at which two inputs count as the same item."""
    licence: str = "unspecified"
    """Licence of the rows."""


class Teacher(Record):
    """Who answers training prompts beside the labels, how much of it, and who is right where the two disagree."""

    name: Identifier
    """A key of `models` in clusters.json (an endpoint, or a larger local profile), or `oracle`: the training rows' own labels."""
    max_answers: int = Field(default=200, ge=1, le=100_000)
    """Training prompts that are asked at most, drawn evenly from the pool. In a run that drafts scenarios, half as many rows to reword at most, each
    of which may take a second question."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Prompt and answer tokens at most, looked at while asking; null sets no limit."""
    trust: Literal["labels", "teacher", "both"] = "labels"
    """`labels`: where the two disagree the label is taught, and every row trains. `teacher`: only what the teacher answered in form is taught, as it
    answered. `both`: only rows on which teacher and label agree are taught. An answer agrees when the domain's rubric passes it against the label."""


class Rehearsal(Record):
    """Rows of another domain that a training set holds besides the domain's own, so that what the base could do is not unlearnt."""

    suite: Identifier = "no_harm"
    """A folder in `domains/` with training rows."""
    share: Share = 0.1
    """How much is rehearsed, as a share of the length of the domain's own answers: the loss is a mean over tokens, so a few long answers would
    outweigh many short ones. At most all rows that there are."""


class TrainOverrides(Record):
    """What this domain changes in the profile's training settings; null keeps the profile's."""

    method: Literal["auto", "sft", "grpo", "dpo"] = "auto"
    """How versions are trained: supervised (`sft`), by rewards from the rubric (`grpo`), by pairs of answers (`dpo`); `auto` leaves it open."""
    max_rows: int | None = Field(default=None, ge=8)
    """Upper bound of a training set."""
    epochs: float | None = Field(default=None, gt=0, le=100)
    """Passes over the training set."""
    learning_rate: float | None = Field(default=None, gt=0, lt=1)
    """Peak rate."""
    rank: int | None = Field(default=None, ge=1, le=512)
    """The adapter's rank; alpha keeps its ratio to it."""
    max_length: int | None = Field(default=None, ge=32)
    """Longest prompt plus completion in tokens."""
    replay_share: Share | None = None
    """Share of a training set that is drawn evenly from the pool rather than aimed at failure patterns; null begins with a half."""
    source: Literal["labels", "teacher"] = "labels"
    """What is taught: the labels, or the answers of the first usable of `teachers`. With none usable, the labels."""
    rehearse: Rehearsal | None = None
    """What to rehearse besides; null rehearses nothing."""
    doubtful: Literal["set_aside", "keep"] = "set_aside"
    """What becomes of training rows whose label a model that has learnt the others finds unlikely. Those set aside are listed by `diagnose`."""


class Diagnosing(Record):
    """How failures are looked into, and which cheap remedies are tried before the first training."""

    try_cheap: bool = True
    """Before a base is first trained, measure what worked examples in the prompt and the schema switch the other way would buy, on core."""
    trial_items: int = Field(default=32, ge=8, le=48)
    """Core items that each of these is measured on, at most."""
    examples: int = Field(default=3, ge=0, le=16)
    """Training rows shown in the prompt; 0 tries none."""
    persistent_rounds: int = Field(default=2, ge=1, le=10)
    """A pattern that survived this many rounds in a row, aimed at each time, counts as persistent."""


class Serving(Record):
    """What an answer may take; measured at each evaluation and reported against these."""

    latency_p95_seconds: float | None = Field(default=None, gt=0)
    """95 of 100 answers should take at most this long."""
    cost_per_decision: Money | None = None
    """What an answer should cost at most: the machine's time for it, at the hourly price that `hosts` in clusters.json gives."""


class DomainFile(Record):
    """The whole of domain.yaml."""

    schema_version: Literal[1] = 1
    """Version of this format."""
    title: str
    """A name for people."""
    contract: Contract
    data: Data
    teachers: tuple[Teacher, ...] = ()
    """Teachers in the order in which they are tried; the first that is not below the floor is used."""
    train: TrainOverrides = TrainOverrides()
    diagnose: Diagnosing = Diagnosing()
    eval: Evaluation
    serving: Serving = Serving()
