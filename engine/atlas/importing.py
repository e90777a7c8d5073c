"""A model's own `config.json` as an entry of the atlas. Pure; `reading.py` finds the files.

Field names differ from architecture to architecture; each is looked for under the names that published models use. What a file does not say is left
out, and what is kept of a context is said only where every layer's kind follows from the file: a wrong cache would be worse than none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from engine.config import Attention, CachedLayers, CatalogueModel, Experts

LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model")
HEADS = ("num_attention_heads", "n_head", "n_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
FEED_FORWARD = ("intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner")
CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")
CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts", "moe_k")
EXPERT_SIZE = ("moe_intermediate_size", "expert_intermediate_size", "intermediate_size")
TWO_MATRICES = frozenset({"falcon", "gpt2", "gpt_neox", "gptj", "nemotron", "opt", "phi", "starcoder2"})
"""`model_type`s whose feed-forward part is not gated."""
ALTERNATING = frozenset({"gemma2"})
"""`model_type`s that give one window, and use it in every second layer."""
ALL_WINDOWED = frozenset({"mistral"})
"""`model_type`s whose every layer has the window, where there is one. With any other the file leaves it open."""
MOST = 10**12
"""Beyond this a number in the file is no dimension."""
UNLIKE = ("attn_layer_indices", "attn_type_list", "block_configs", "compress_ratios", "full_attention_interval", "global_head_dim",
          "hybrid_layer_pattern", "hybrid_override_pattern", "layers_block_type", "linear_attn_config", "mamba_d_state", "ssm_cfg")  # fmt: skip
"""Fields of models whose layers differ in ways that are not read here."""
LANGUAGE_CHARACTERS, MOST_LANGUAGES, LICENCE_CHARACTERS = 20, 200, 100
FULL, WINDOWED, LINEAR = "full_attention", "sliding_attention", "linear_attention"


def entry_from(config: Mapping[str, Any], *, name: str, total: int | None, card: Mapping[str, Any], source: str) -> CatalogueModel:
    """The entry of a model with this `config.json`. `total`: parameters counted in its files; `card`: the head of its model card.

    Raises ValueError, naming the field, where the file is no language model's.
    """
    text = _language_part(config)
    layers, hidden, heads = (_needed(text, names) for names in (LAYERS, HIDDEN, HEADS))
    experts = _experts(text, layers)
    gated = text.get("model_type") not in TWO_MATRICES
    vocabulary, feed_forward = _first(text, ("vocab_size",)), _first(text, FEED_FORWARD)
    attention = _attention(text, layers, hidden, heads)
    tied = bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", True)))
    counted = total or _computed(text, layers, hidden, heads, feed_forward, vocabulary, experts, gated=gated, tied=tied)
    languages = card.get("language") or ()
    listed = [languages] if isinstance(languages, str) else languages if isinstance(languages, list) else []
    return CatalogueModel(
        name=name.split("/")[-1],
        family=str(text.get("model_type", "unknown")),
        architecture="hybrid" if attention.kind == "hybrid" else "moe" if experts else "dense",
        parameters_billion=None if counted is None else round(counted / 1e9, 4),
        layers=layers,
        hidden_size=hidden,
        attention_heads=heads,
        intermediate_size=feed_forward,
        gated=gated,
        vocabulary=vocabulary,
        tied_embeddings=tied,
        attention=attention,
        experts=experts,
        context_tokens=_first(text, CONTEXT),
        published_as=_published_as(config.get("quantization_config") or text.get("quantization_config")),
        vision="vision_config" in config,
        licence=card["license"][:LICENCE_CHARACTERS] if isinstance(card.get("license"), str) else None,
        tasks=(),
        languages=tuple(each for each in listed if isinstance(each, str) and len(each) <= LANGUAGE_CHARACTERS)[:MOST_LANGUAGES],
        source=source,
        sources={} if total or counted is None else {"parameters_billion": "computed from its dimensions"},
        confidence="high" if total else "medium",
    )


def _language_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("text_config", "llm_config", "language_config"):
        if isinstance(part := config.get(name), Mapping):
            return part
    return config


def _published_as(quantisation: Any) -> Literal["bf16", "fp8", "int4", "mxfp4"] | None:
    """What the weights are held in, by the file's `quantization_config`; None where it names a way that is not known here."""
    if not quantisation:
        return "bf16"
    match quantisation:
        case {"quant_method": "fp8"}:
            return "fp8"
        case {"quant_method": "mxfp4"}:
            return "mxfp4"
        case {"quant_method": "awq" | "gptq", "bits": 4}:
            return "int4"
        case _:
            return None


def _first(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MOST:
            return value
    return None


def _needed(config: Mapping[str, Any], names: Sequence[str]) -> int:
    value = _first(config, names)
    if value is None:
        raise ValueError(f"it has no {names[0]} (looked for {', '.join(names)})")
    return value


def _experts(config: Mapping[str, Any], layers: int) -> Experts | None:
    count, chosen, size = _first(config, EXPERTS), _first(config, CHOSEN), _first(config, EXPERT_SIZE)
    if count is None or count == 1 or chosen is None or size is None:
        return None
    shared_size = _first(config, ("shared_expert_intermediate_size",))
    shared = _first(config, ("n_shared_experts", "num_shared_experts")) or (1 if shared_size else 0)
    every = max(_first(config, ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq")) or 1, 1)
    dense = config.get("mlp_only_layers")
    plain = (_first(config, ("first_k_dense_replace",)) or 0) + (len(dense) if isinstance(dense, list) else 0)
    return Experts(
        experts=count,
        experts_per_token=chosen,
        expert_size=size,
        shared_experts=shared,
        shared_size=shared_size or shared * size,
        moe_layers=max((layers - plain) // every, 1),
    )


def _attention(config: Mapping[str, Any], layers: int, hidden: int, heads: int) -> Attention:
    kinds = _kinds(config, layers)
    rank = _first(config, ("kv_lora_rank",))
    if kinds is None or (rank is not None and kinds.keys() != {FULL}):
        return Attention(kind="unknown", note="config.json does not say what each layer keeps")
    if rank is not None:
        latent = rank + (_first(config, ("qk_rope_head_dim",)) or 0)
        return Attention(kind="mla", cached=(CachedLayers(layers=layers, latent=latent),))
    kv_heads, head_dim = _heads(config, hidden, heads)
    windows = {FULL: None, WINDOWED: _first(config, ("sliding_window",))}
    cached = [
        CachedLayers(layers=kinds[kind], kv_heads=kv_heads, head_dim=head_dim, window=window) for kind, window in windows.items() if kinds[kind]
    ]
    state = _state(config) * kinds[LINEAR] if kinds[LINEAR] else 0
    if kinds[LINEAR] and not state:
        return Attention(kind="hybrid", note="config.json does not say how large the state of its linear layers is")
    kind = "hybrid" if kinds[LINEAR] else "mqa" if kv_heads == 1 else "gqa" if kv_heads < heads else "mha"
    return Attention(kind=kind, cached=tuple(cached), state_elements=state or None)  # type: ignore[arg-type]


def _heads(config: Mapping[str, Any], hidden: int, heads: int) -> tuple[int, int]:
    """Heads whose keys and values are kept, and their size."""
    grouped = _first(config, KV_HEADS) if config.get("new_decoder_architecture", True) else None
    kv_heads = grouped or (1 if config.get("multi_query") is True else heads)
    return kv_heads, _first(config, ("head_dim", "attention_head_dim")) or max(hidden // heads, 1)


def _kinds(config: Mapping[str, Any], layers: int) -> Counter[str] | None:
    """How many layers attend to all, to a window, or keep a state; None where the file leaves it open."""
    listed = config.get("layer_types")
    if isinstance(listed, list) and len(listed) == layers and not any(config.get(name) for name in UNLIKE if name != "full_attention_interval"):
        found = Counter(str(each) for each in listed)
        return found if found.keys() <= {FULL, WINDOWED, LINEAR} else None
    if listed or any(config.get(name) for name in UNLIKE):
        return None
    window = _first(config, ("sliding_window",)) if config.get("use_sliding_window", True) else None
    if window is None:
        return Counter({FULL: layers})
    if (pattern := _first(config, ("sliding_window_pattern",))) is not None:
        return Counter({FULL: layers // pattern, WINDOWED: layers - layers // pattern})
    if config.get("model_type") in ALTERNATING:
        return Counter({FULL: layers // 2, WINDOWED: layers - layers // 2})
    return Counter({WINDOWED: layers}) if config.get("model_type") in ALL_WINDOWED and "max_window_layers" not in config else None


def _state(config: Mapping[str, Any]) -> int:
    """Elements that one linear layer keeps (gated delta rule: a matrix of key x value size for each value head)."""
    sizes = [_first(config, (name,)) for name in ("linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim")]
    product = 1
    for size in sizes:
        product *= size or 0
    return product


def _computed(
    config: Mapping[str, Any],
    layers: int,
    hidden: int,
    heads: int,
    feed_forward: int | None,
    vocabulary: int | None,
    experts: Experts | None,
    *,
    gated: bool,
    tied: bool,
) -> int | None:
    """Parameters from the dimensions, where these are those of plain layers."""
    kinds = _kinds(config, layers)
    plain = _first(config, ("kv_lora_rank",)) is None and kinds is not None and not kinds[LINEAR]
    if vocabulary is None or not plain or (feed_forward is None and experts is None):
        return None
    kv_heads, head_dim = _heads(config, hidden, heads)
    matrices = 3 if gated else 2
    attention = layers * 2 * hidden * head_dim * (heads + kv_heads)
    moe_layers = (experts.moe_layers or 0) if experts else 0
    routed = moe_layers * matrices * hidden * ((experts.experts * experts.expert_size) + (experts.shared_size or 0)) if experts else 0
    dense = (layers - moe_layers) * matrices * hidden * (feed_forward or 0)
    tables = vocabulary * hidden * (1 if tied else 2)
    return attention + routed + dense + tables
