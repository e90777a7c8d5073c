"""clusters.json, domain.yaml and atlas.json: what an organisation writes, as frozen records with a sentence under each field.

A new model is an entry, a new domain a folder; everything downstream (the vLLM command line, the training plan, the prompts, the suite, the
grading) is derived from these records at run time. Loading never guesses: an unknown key, a wrong type or a dangling name raises
ConfigInvalid or DomainInvalid with the file, the path inside it, the value found and what was expected. The JSON schemas in `docs/` are
generated from these classes.

Everybody imports from here. Inside: `clusters.py` and `models.py` are clusters.json, `domain.py`, `judging.py` and `checks.py` are domain.yaml,
`atlas.py` is atlas.json.

Not here: reading the rows of a domain (`engine/evaluate/compile.py`), and keeping state (`engine/store`).
"""

from __future__ import annotations

from engine.config.atlas import (
    Accelerator,
    AcceleratorPrice,
    AtlasFile,
    Attention,
    CachedLayers,
    CatalogueModel,
    Experts,
    NumberType,
    ServedMeasurement,
)
from engine.config.checks import (
    Check,
    ChoiceCheck,
    ConductCheck,
    ContainsCheck,
    ExactCheck,
    GroundedCheck,
    JsonFieldsCheck,
    JsonSchemaCheck,
    NotContainsCheck,
    NumericCheck,
    RegexCheck,
    SetF1Check,
    SpanF1Check,
)
from engine.config.clusters import SIGNED_STATES, Budget, Cluster, ClustersFile, Defaults, Host, HourlyPrice, PromotionPolicy, Signatures
from engine.config.domain import Contract, Data, Diagnosing, DomainFile, Output, Rehearsal, Rows, Serving, Splits, Teacher, TrainOverrides
from engine.config.judging import Acceptance, Evaluation, Expansion, NoHarm, SafetyNet
from engine.config.models import (
    DirectoryWeights,
    EndpointProfile,
    HubWeights,
    Inference,
    Lora,
    ModelProfile,
    PackageWeights,
    Profile,
    ScriptedProfile,
    Training,
)
from engine.config.money import Money
from engine.config.values import Device, Identifier, Share, SignatureLevel, SignedState, WireDialect

__all__ = [
    "SIGNED_STATES",
    "Accelerator",
    "AcceleratorPrice",
    "Acceptance",
    "AtlasFile",
    "Attention",
    "Budget",
    "CachedLayers",
    "CatalogueModel",
    "Check",
    "ChoiceCheck",
    "Cluster",
    "ClustersFile",
    "ConductCheck",
    "ContainsCheck",
    "Contract",
    "Data",
    "Defaults",
    "Device",
    "Diagnosing",
    "DirectoryWeights",
    "DomainFile",
    "EndpointProfile",
    "Evaluation",
    "ExactCheck",
    "Expansion",
    "Experts",
    "GroundedCheck",
    "Host",
    "HourlyPrice",
    "HubWeights",
    "Identifier",
    "Inference",
    "JsonFieldsCheck",
    "JsonSchemaCheck",
    "Lora",
    "ModelProfile",
    "Money",
    "NoHarm",
    "NotContainsCheck",
    "NumberType",
    "NumericCheck",
    "Output",
    "PackageWeights",
    "Profile",
    "PromotionPolicy",
    "RegexCheck",
    "Rehearsal",
    "Rows",
    "SafetyNet",
    "ScriptedProfile",
    "ServedMeasurement",
    "Serving",
    "SetF1Check",
    "Share",
    "SignatureLevel",
    "Signatures",
    "SignedState",
    "SpanF1Check",
    "Splits",
    "Teacher",
    "TrainOverrides",
    "Training",
    "WireDialect",
]
