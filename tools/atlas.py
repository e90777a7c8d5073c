"""Which model, and on which hardware."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from engine.atlas.types import Constraints, Deployment, Export, ExportFormat, Need, ScoreWeights, Situation, Wanted
from engine.base.record import Record
from engine.config import ServedMeasurement
from engine.views.atlas import ImportedModel, ModelsPage, PlanPage, RecordedMeasurement, TriagePage
from tools.fields import ClusterName, Cursor, PageLimit
from tools.tool import Tool

if TYPE_CHECKING:
    from engine.engine import Engine


REVISION = r"^[A-Za-z0-9][\w.-]{0,99}$"


class SearchModelsArguments(Record):
    """What the model must be, and where it is to run."""

    text: Annotated[str | None, Field(max_length=200, description="Words of its name or family.", examples=["qwen3 4b"])] = None
    task: Annotated[str | None, Field(max_length=40, description="Such as code, reasoning, tool-use, edge, multimodal, long-context.")] = None
    licence: Annotated[str | None, Field(max_length=60, description="A licence tag, or `permissive`.")] = None
    architecture: Annotated[Literal["dense", "moe", "hybrid"] | None, Field(description="hybrid: with linear or state-space layers.")] = None
    language: Annotated[str | None, Field(max_length=20, description="ISO 639 code. Few entries name theirs.")] = None
    min_parameters_billion: Annotated[float | None, Field(gt=0, description="In all.")] = None
    max_parameters_billion: Annotated[float | None, Field(gt=0, description="In all.")] = None
    min_context_tokens: Annotated[int | None, Field(ge=1, description="Longest context.")] = None
    accelerator: Annotated[
        str | None, Field(max_length=100, description="Adds what fits on it and how fast it answers.", examples=["L4 24GB"])
    ] = None
    count: Annotated[int, Field(ge=1, le=8, description="Accelerators that a model is split over.")] = 1
    quantisation: Annotated[str, Field(max_length=20, description="bf16, fp8, int8, int4, fp4, mxfp4, nf4 or nf4-dq.")] = "bf16"
    prompt_tokens: Annotated[int, Field(ge=1, le=10_000_000, description="Of a request.")] = 1024
    answer_tokens: Annotated[int, Field(ge=1, le=1_000_000, description="Of a request.")] = 256
    concurrency: Annotated[int, Field(ge=1, le=4096, description="Requests in flight.")] = 8
    fits: Annotated[bool, Field(description="Only models that the accelerator holds at this load.")] = False
    order: Annotated[Literal["parameters", "release", "context"], Field(description="Smallest, newest or longest context first.")] = "parameters"
    compare: Annotated[tuple[str, ...], Field(max_length=5, description="Models to set side by side, with sources.")] = ()
    cursor: Cursor = None
    limit: PageLimit = 10


def search_models(engine: Engine, arguments: SearchModelsArguments) -> ModelsPage:
    """Models of the atlas."""
    wanted = Wanted(
        arguments.text,
        arguments.task,
        arguments.licence,
        arguments.architecture,
        arguments.language,
        arguments.min_parameters_billion,
        arguments.max_parameters_billion,
        arguments.min_context_tokens,
    )
    where = Deployment(
        arguments.accelerator,
        arguments.count,
        arguments.quantisation,
        arguments.prompt_tokens,
        arguments.answer_tokens,
        arguments.concurrency,
    )
    return engine.search_models(
        wanted, where, fitting=arguments.fits, order=arguments.order, compare=arguments.compare, cursor=arguments.cursor, limit=arguments.limit
    )


SEARCH_MODELS = Tool(
    name="search_models",
    title="Search models",
    description=(
        "Open models with size, licence, context and memory, each value with its source; with `accelerator`: what fits, and answer tokens a second "
        "with the interval that nine of ten published measurements lay in. `compare` sets up to five side by side."
    ),
    effect="read",
    arguments=SearchModelsArguments,
    result=ModelsPage,
    run=search_models,
    idempotent=True,
    positional=("text",),
)


class ImportModelArguments(Record):
    """A model, and where its files are."""

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=200, description="As on the hub: owner/name.", examples=["acme/desk-4b"])
    ]
    path: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=1000,
            description="Folder with config.json, in the workspace; absent: fetched from the hub.",
            examples=["models/desk-4b"],
        ),
    ] = None
    revision: Annotated[
        str | None, Field(pattern=REVISION, description="On the hub: commit, tag or branch; absent: the newest commit.")
    ] = None


def import_model(engine: Engine, arguments: ImportModelArguments) -> ImportedModel:
    """A model joins the atlas."""
    return engine.import_model(arguments.name, arguments.path, arguments.revision)


IMPORT_MODEL = Tool(
    name="import_model",
    title="Import a model into the atlas",
    description=(
        "Adds a model to the workspace's atlas.json from its Hugging Face files, in a folder or on the hub: dimensions from config.json, parameters "
        "counted in the heads of its safetensors files, licence and languages from its card. No weights are read."
    ),
    effect="write",
    arguments=ImportModelArguments,
    result=ImportedModel,
    run=import_model,
    idempotent=True,
    positional=("name", "path"),
    listed=False,
)
"""Not listed for agents: one edits atlas.json once for a model."""


OWN = r"^(?:(\d{1,2})\s*x\s*)?(\S.{0,98})$"
TERMS = len(ScoreWeights._fields)


class PlanDeploymentArguments(Record):
    """What the deployment must do, and within what."""

    task: Annotated[str | None, Field(max_length=40, description="As in search_models.")] = None
    text: Annotated[str | None, Field(max_length=200, description="Words of the models that come into question.")] = None
    prompt_tokens: Annotated[int, Field(ge=1, le=900_000, description="Of a request.")] = 1024
    answer_tokens: Annotated[int, Field(ge=1, le=100_000, description="Of a request.")] = 256
    concurrency: Annotated[int, Field(ge=1, le=1024, description="Requests in flight.")] = 8
    tpot_ms: Annotated[float | None, Field(gt=0, description="Most milliseconds between tokens.")] = None
    ttft_ms: Annotated[float | None, Field(gt=0, description="Most milliseconds to the first token.")] = None
    usd_per_hour: Annotated[float | None, Field(gt=0, description="Most to rent for.")] = None
    permissive: Annotated[bool, Field(description="Only permissive licences.")] = False
    own: Annotated[
        tuple[Annotated[str, Field(pattern=OWN)], ...],
        Field(max_length=10, description="Hardware on hand.", examples=[["2 x RTX 4090"]]),
    ] = ()
    rent: Annotated[bool, Field(description="false: requests stay on hardware on hand.")] = True
    quantisations: Annotated[
        tuple[Literal["bf16", "fp8", "int4", "mxfp4"], ...],
        Field(min_length=1, max_length=4, description="As published, or fp8 made while loading; int4 needs a checkpoint to export."),
    ] = ("bf16", "fp8", "mxfp4")
    max_cards: Annotated[int, Field(ge=1, le=8, description="For one copy.")] = 8
    weights: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1000)], ...] | None,
        Field(min_length=TERMS, max_length=TERMS, description="A team's own points for task, context, latency, memory, licence, margin."),
    ] = None
    export: Annotated[ExportFormat | None, Field(description="A file that starts it.")] = None
    configuration: Annotated[str | None, Field(max_length=300, description="Which to export; absent: the first.")] = None
    revision: Annotated[str | None, Field(pattern=REVISION, description="Commit or tag of the weights.")] = None
    checkpoint: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=200, description="Repository quantised already.")
    ] = None
    cursor: Cursor = None
    limit: PageLimit = 3


def plan_deployment(engine: Engine, arguments: PlanDeploymentArguments) -> PlanPage:
    """Ranked configurations, and the file of one."""
    wanted = Constraints(
        task=arguments.task,
        prompt_tokens=arguments.prompt_tokens,
        answer_tokens=arguments.answer_tokens,
        concurrency=arguments.concurrency,
        tpot_ms=arguments.tpot_ms,
        ttft_ms=arguments.ttft_ms,
        usd_per_hour=arguments.usd_per_hour,
        permissive=arguments.permissive,
        own=tuple(map(_on_hand, arguments.own)),
        rent=arguments.rent,
        quantisations=tuple(dict.fromkeys(arguments.quantisations)),
        text=arguments.text,
        most_cards=arguments.max_cards,
    )
    export = None
    if arguments.export is not None:
        export = Export(arguments.export, arguments.configuration, arguments.revision, arguments.checkpoint)
    weights = ScoreWeights(*(arguments.weights or ()))
    return engine.plan_deployment(wanted, weights, export, cursor=arguments.cursor, limit=arguments.limit)


def _on_hand(words: str) -> tuple[str, int]:
    """`2 x RTX 4090` as name and number."""
    match = re.match(OWN, words)
    return (match[2], int(match[1] or 1)) if match else (words, 1)


PLAN_DEPLOYMENT = Tool(
    name="plan_deployment",
    title="Plan a deployment",
    description=(
        "Which model on which NVIDIA hardware does what is asked: ranked configurations, each with its score term by term, latency, memory and cost "
        "with intervals, and what would change the answer. `export` makes the file that starts one: vLLM, TGI, Compose, Kubernetes, JSON, a profile "
        "for onboard_model, or a report."
    ),
    effect="read",
    arguments=PlanDeploymentArguments,
    result=PlanPage,
    run=plan_deployment,
    idempotent=True,
)


class TriageTuningArguments(Record):
    """A cluster that was measured, or what is known before there is one."""

    cluster: Annotated[ClusterName | None, Field(description="Answers from its measurements; absent: from rules.")] = None
    need: Annotated[Need | None, Field(description="Without a cluster: what is wrong; `speed` covers cost.")] = None
    labelled_rows: Annotated[int | None, Field(ge=0, description="Without a cluster: how many there are.")] = None
    facts_change: Annotated[bool, Field(description="Without a cluster: what is true changes between trainings.")] = False


def triage_tuning(engine: Engine, arguments: TriageTuningArguments) -> TriagePage:
    """Whether to train."""
    situation = Situation(arguments.need, arguments.labelled_rows, arguments.facts_change)
    return engine.triage_tuning(arguments.cluster, situation)


TRIAGE_TUNING = Tool(
    name="triage_tuning",
    title="Should you train?",
    description=(
        "Says whether training is worth it, with reasons: floor, prompt, schema, examples, a larger model and a trained version side by side with "
        "quality, time, cost and effort as measured, and how many rows the target takes. Without a cluster: what to try first."
    ),
    effect="read",
    arguments=TriageTuningArguments,
    result=TriagePage,
    run=triage_tuning,
    idempotent=True,
    positional=("cluster",),
)


def record_measurement(engine: Engine, arguments: ServedMeasurement) -> RecordedMeasurement:
    """A measurement joins the atlas."""
    return engine.record_measurement(arguments)


RECORD_MEASUREMENT = Tool(
    name="record_measurement",
    title="Record a measurement of your own",
    description=(
        "Adds how fast a server of yours answered under a steady load to the workspace's atlas.json. Estimates of that model on that accelerator are "
        "corrected by it: a little by one, fully by many."
    ),
    effect="write",
    arguments=ServedMeasurement,
    result=RecordedMeasurement,
    run=record_measurement,
    idempotent=True,
    positional=("model", "accelerator"),
    listed=False,
)
"""Not listed for agents: whoever measures a server knows of it."""
