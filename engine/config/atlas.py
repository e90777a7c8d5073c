"""Entries of the atlas: what is known of an open model and of an accelerator. The built-in ones lie beside `engine/atlas`; a workspace adds its own
in atlas.json. Not here: what follows from them (`engine/atlas/physics`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.base.record import Record

Confidence = Literal["high", "medium", "low"]
"""`high`: read in the model's own configuration or its maker's sheet; `medium`: in a copy of it; `low`: inferred, or contradicted elsewhere."""
AttentionKind = Literal["mha", "gqa", "mqa", "mla", "hybrid", "compressed", "unknown"]
"""What is kept for each token: all heads, grouped heads, one head, a latent; `hybrid`: some layers keep a state instead, of constant size."""
Architecture = Literal["dense", "moe", "hybrid"]
Vendor = Literal["nvidia", "amd", "apple", "google", "intel", "cpu"]
NumberType = Literal["bf16", "fp8", "int8", "fp4"]
HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=200)]
AcceleratorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w .:,()+/-]*$", max_length=100)]
Count = Annotated[int, Field(ge=1, le=10**10)]


class CachedLayers(Record):
    """Layers that keep the same for each token of a sequence."""

    layers: Count
    kv_heads: Count | None = None
    """Heads whose keys and values are kept; absent where a latent is."""
    head_dim: Count | None = None
    """Elements of a key, and of a value."""
    latent: Count | None = None
    """Multi-head latent attention: elements of the latent with the rotary part, kept once for keys and values."""
    window: Count | None = None
    """Tokens after which the oldest is forgotten; absent: none is."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.latent is None) == (self.kv_heads is None or self.head_dim is None):
            raise ValueError("layers keep either a latent, or keys and values of kv_heads x head_dim")
        return self

    @property
    def elements_per_token(self) -> int:
        """Of all these layers."""
        return self.layers * (self.latent or 2 * (self.kv_heads or 0) * (self.head_dim or 0))


class Attention(Record):
    """What a model keeps of what it has read."""

    kind: AttentionKind
    cached: tuple[CachedLayers, ...] = ()
    """Empty: no source says, and no memory of a context is computed."""
    state_elements: int | None = Field(default=None, ge=1, le=10**12)
    """What linear or state-space layers keep of a sequence however long it is, in elements."""
    note: str = ""

    @model_validator(mode="after")
    def _one_window(self) -> Self:
        if len({each.window for each in self.cached if each.window}) > 1:
            raise ValueError("layers with windows of different sizes are not modelled")
        return self


class Experts(Record):
    """A mixture of experts."""

    experts: Count
    """Routed experts of a layer."""
    experts_per_token: Count
    expert_size: Count
    """Hidden size of one expert's feed-forward part."""
    shared_experts: int | None = Field(default=None, ge=0, le=10**6)
    """Always read, beside the routed ones."""
    shared_size: int | None = Field(default=None, ge=0, le=10**9)
    moe_layers: int | None = Field(default=None, ge=1)
    """Layers that have experts; absent: no source says."""


class CatalogueModel(Record):
    """An open-weight model. What no source says is absent, and nothing is computed from it."""

    name: str = Field(max_length=200)
    family: str = Field(max_length=100)
    architecture: Architecture
    parameters_billion: float | None = Field(default=None, gt=0, le=1e6)
    active_parameters_billion: float | None = Field(default=None, gt=0, le=1e6)
    """Read for each token, as its makers say it; for a dense model all."""
    layers: Count | None = None
    hidden_size: Count | None = None
    attention_heads: Count | None = None
    intermediate_size: Count | None = None
    """Of the dense feed-forward part."""
    gated: bool = True
    """The feed-forward part has three matrices, not two."""
    vocabulary: Count | None = None
    tied_embeddings: bool | None = None
    """The output layer is the embedding."""
    attention: Attention
    experts: Experts | None = None
    context_tokens: Count | None = None
    """The longest context that its makers name."""
    published_as: Literal["bf16", "fp8", "int4", "mxfp4"] | None = "bf16"
    """What the weights in its repository are held in, null where that is none of these; other quantisations of it are somebody else's checkpoints."""
    vision: bool = False
    licence: str | None = None
    """The licence tag of its card: not legal advice."""
    tasks: tuple[str, ...] = ()
    """What it is meant for, such as code or reasoning."""
    languages: tuple[str, ...] = ()
    """ISO 639 codes that its card names."""
    release: str | None = Field(default=None, pattern=r"^\d{4}(-\d{2}){0,2}$")
    """Year, month or day; often that of the repository, which can be a later upload."""
    source: str
    """Where its dimensions were read."""
    sources: dict[str, str] = {}
    """Where single values were read, if elsewhere."""
    confidence: Confidence
    note: str = ""


class AcceleratorPrice(Record):
    """What an accelerator cost somebody for an hour."""

    provider: str
    instance: str
    usd_per_hour: float | None = Field(default=None, gt=0, le=1e7)
    """For one accelerator; absent where the source gives a range in words."""
    kind: str
    """`on-demand`, `spot` or as the provider calls it."""
    as_of: str
    """When that price was seen."""
    source: str
    confidence: Confidence


class Accelerator(Record):
    """A card, a chip or a machine that runs models."""

    vendor: Vendor
    memory_gib: float | None = Field(default=None, gt=0, le=1e7)
    """As it is sold."""
    reported_memory_gib: float | None = Field(default=None, gt=0, le=1e7)
    """As its driver reports it, where somebody logged that."""
    bandwidth_gb_s: float | None = Field(default=None, gt=0, le=1e7)
    """Of its memory, in 1e9 bytes a second."""
    tflops: dict[NumberType, Annotated[float, Field(gt=0, le=1e7)]] = {}
    """Dense tera-operations a second by number type; a type that no source gives is absent."""
    compute_capability: float | None = Field(default=None, gt=0)
    """NVIDIA's, such as 8.9: which kernels it runs (developer.nvidia.com/cuda-gpus)."""
    interconnect: str | None = None
    interconnect_gb_s: float | None = Field(default=None, gt=0, le=1e7)
    """To another one, each direction, in 1e9 bytes a second."""
    unified_memory: bool = False
    """Its memory is the host's too, so that a part stays for the host."""
    power_w: float | None = Field(default=None, gt=0, le=1e7)
    prices: tuple[AcceleratorPrice, ...] = ()
    source: str
    confidence: Confidence
    note: str = ""


class ServedMeasurement(Record):
    """How fast a server answered under a steady load, as somebody measured it."""

    model: HubName
    """By its name on the hub."""
    accelerator: AcceleratorName
    """As the atlas has it."""
    cards: int = Field(default=1, ge=1, le=64)
    """Accelerators that the model was split over."""
    engine: Literal["vllm", "sglang", "trtllm"] = "vllm"
    """What served it."""
    quantisation: str = Field(max_length=20)
    """Such as bf16, fp8 or int4."""
    prompt_tokens: float = Field(ge=1, le=1e7)
    """In the mean."""
    answer_tokens: float = Field(ge=1, le=1e7)
    """In the mean."""
    concurrency: float = Field(ge=1, le=1e7)
    """Requests in flight, in the mean."""
    tpot_ms: float = Field(gt=0, le=1e8)
    """Milliseconds between two tokens of an answer."""
    ttft_ms: float | None = Field(default=None, gt=0, le=1e8)
    """Milliseconds to the first token."""
    as_of: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """The day."""
    source: str = Field(max_length=500)
    """Who measured it, and how."""


class AtlasFile(Record):
    """`atlas.json` of a workspace: entries of its own, which stand before the built-in ones of the same name."""

    schema_version: Literal[1] = 1
    models: dict[HubName, CatalogueModel] = {}
    """By their names on the Hugging Face hub, `owner/name`."""
    accelerators: dict[AcceleratorName, Accelerator] = {}
    """By the names that they are sold under."""
    measurements: dict[str, ServedMeasurement] = Field(default={}, max_length=1000)
    """One's own, which correct the estimates of their settings (`modelsmith record-measurement`)."""
