"""Rollbacks as surfaces show them: which version answers, what proves it, and how long it took."""

from __future__ import annotations

from engine.promote.types import Drill
from engine.serve.types import Flip
from engine.views import NextCall, RollbackPage


def rolled_back_page(cluster: str, flip: Flip) -> RollbackPage:
    """A version that answers again."""
    place = f" in the place of {flip.before}" if flip.before else ""
    summary = f"{flip.after} serves {cluster} again{place}, {_proved(flip)}. It took {flip.seconds:.2f} s{_started(flip)}."
    measure = NextCall(tool="evaluate", arguments={"cluster": cluster, "subject": flip.before}, why="measure what was rolled back")
    return _page(cluster, flip, summary).model_copy(update={"next": (measure,) if flip.before else ()})


def drilled_page(cluster: str, there: Flip, back: Flip) -> RollbackPage:
    """A drill: there and back."""
    summary = (
        f"Drill: {there.after} served {cluster} after {there.seconds:.2f} s{_started(there)}, {_proved(there)}; {back.after} serves again after "
        f"{back.seconds:.2f} s more, {_proved(back)}."
    )
    page = _page(cluster, there, summary)
    return page.model_copy(update={"version": back.after, "before": there.after, "back_seconds": back.seconds})


def drill_in_words(drill: Drill) -> str:
    """A drill of the past, in a sentence."""
    cold = "" if drill.warm else ", with the start of its server"
    return f"{drill.drilled_at}: {drill.to} for {drill.serving} in {drill.seconds:.2f} s{cold}, and back in {drill.back_seconds:.2f} s."


def _page(cluster: str, flip: Flip, summary: str) -> RollbackPage:
    proof = flip.proof
    return RollbackPage(
        summary=summary,
        cluster=cluster,
        version=flip.after,
        before=flip.before,
        proof=None if proof is None else proof.report.verdict,
        warm=None if proof is None else proof.warm,
        seconds=flip.seconds,
        flip_seconds=flip.flip_seconds,
    )


def _proved(flip: Flip) -> str:
    if flip.proof is None:
        return "unproved here: nothing of it is served on this machine, and whoever deployed it has to follow"
    report = flip.proof.report
    return f"proved by fingerprint ({report.mean_difference:.3g} nats, limit {report.limit:.3g})"


def _started(flip: Flip) -> str:
    return ", with the start of its server" if flip.proof is not None and not flip.proof.warm else ""
