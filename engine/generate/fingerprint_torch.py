"""The expected side of a fingerprint, computed with torch in the worker that made the weights. Only workers import this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.generate.fingerprint import PROBE_TOKENS
from engine.generate.types import Fingerprint, FingerprintProbe


def compute_fingerprint(model: Any, tokenizer: Any, texts: Sequence[str], *, weights: str) -> Fingerprint:
    """The log-probabilities that `model` gives to the last tokens of each text. `weights` is the digest of what the model holds.

    The texts are tokenised as they are, without adding special tokens: a chat template has already put them where they belong.
    """
    import torch

    was_training = model.training
    model.eval()
    probes: list[FingerprintProbe] = []
    with torch.inference_mode():
        for text in texts:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"][-PROBE_TOKENS:]
            logits = model(torch.tensor([ids], device=model.device)).logits[0, :-1].float()
            rows = torch.log_softmax(logits, dim=-1)
            chosen = rows[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
            probes.append(FingerprintProbe(token_ids=tuple(ids), logprobs=tuple(round(value, 6) for value in chosen.tolist())))
    model.train(was_training)
    return Fingerprint(weights=weights, probes=tuple(probes))
