"""From candidate to the state that serves, as tables: what is not in a cluster's chain is refused. Pure.

    standard    candidate -> eval-accepted -> shadow -> canary -> production-accepted -> deprecated
    customer    candidate -> eval-accepted -> artifact-exported -> customer-deployed -> production-validated -> deprecated

The loop judges (`candidate` to `eval-accepted` or `rejected`), and moves the version that serves to `deprecated` when another takes its place.
An agent may bring a version as far as `shadow` or `artifact-exported`, where it answers nobody, and may take one back from anywhere: the safe
direction needs no approval. What lets a version answer is signed by people. A version that was rolled back begins again below them.

A rollback brings back a version that has served before, and nobody signs that: people have. It leads out of `deprecated` alone, and into
`deprecated` nothing leads but from the serving state, so that whatever stands there was signed for.

`flaws` says what is wrong with a table, and a table with a flaw is not used: above all, no version comes to serve, the first time, without people.

A gate's checks are measured on this machine (`checks.py`). Agreement and latency in shadow want a version that answers beside the one that serves:
there is no check of these yet, for one that cannot fail would only look like one. Each joins the edges that it guards when its figure exists.

`export_parity` guards both ends of `artifact-exported`. Into it, because a state of that name without a package that answers as the version did
would say something untrue; out of it, because what people sign for there is the package, and contract or rubric may have changed since it was made.
Further on it guards nothing: what the customer runs was handed over already.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from engine.config import PromotionPolicy, Signatures
from engine.errors import ConfigInvalid, StateConflict
from engine.promote.types import Chain, CheckName, State, Transition, VersionState

CANDIDATE, ACCEPTED, REJECTED, ROLLED_BACK, DEPRECATED = "candidate", "eval-accepted", "rejected", "rolled-back", "deprecated"
"""States that every chain has."""

JUDGED: tuple[Transition, ...] = (
    Transition(source=CANDIDATE, target=ACCEPTED, by="loop"),
    Transition(source=CANDIDATE, target=REJECTED, by="loop"),
    Transition(source=REJECTED, target=ACCEPTED, by="loop"),
)
"""How every chain begins: by the loop's verdict, whose clauses are its checks (`engine/iterate/clauses.py`). The same weights may be made and judged
again; what was accepted once stays so."""

OFFLINE: tuple[CheckName, ...] = ("floor", "incumbent", "held_out", "schema_valid", "no_harm", "safety_nets", "freshness")
"""What a version must have shown before anybody looks at it further."""
ANSWERING: tuple[CheckName, ...] = (*OFFLINE, "latency", "cost")
"""What it must show before it answers anyone."""
EXPORTED: tuple[CheckName, ...] = ("export_parity",)
"""What its package must show: that it answers as the version did that was evaluated."""

STANDARD = Chain(
    name="standard",
    states=(CANDIDATE, ACCEPTED, "shadow", "canary", "production-accepted", DEPRECATED, ROLLED_BACK, REJECTED),
    first=CANDIDATE,
    serving="production-accepted",
    transitions=(
        *JUDGED,
        Transition(source=ACCEPTED, target="shadow", by="agent", checks=OFFLINE),
        Transition(source=ACCEPTED, target=REJECTED, by="agent"),
        Transition(source="shadow", target="canary", by="human", checks=ANSWERING, approvals=1),
        Transition(source="shadow", target=REJECTED, by="agent"),
        Transition(source="canary", target="production-accepted", by="human", checks=ANSWERING, approvals=1),
        Transition(source="canary", target=ROLLED_BACK, by="agent"),
        Transition(source="production-accepted", target=DEPRECATED, by="loop"),
        Transition(source=DEPRECATED, target="production-accepted", by="rollback"),
        Transition(source="production-accepted", target=ROLLED_BACK, by="agent"),
        Transition(source=ROLLED_BACK, target="shadow", by="agent", checks=OFFLINE),
    ),
)
"""For what is served here."""

CUSTOMER = Chain(
    name="customer",
    states=(CANDIDATE, ACCEPTED, "artifact-exported", "customer-deployed", "production-validated", DEPRECATED, ROLLED_BACK, REJECTED),
    first=CANDIDATE,
    serving="production-validated",
    transitions=(
        *JUDGED,
        Transition(source=ACCEPTED, target="artifact-exported", by="agent", checks=(*OFFLINE, *EXPORTED)),
        Transition(source=ACCEPTED, target=REJECTED, by="agent"),
        Transition(source="artifact-exported", target="customer-deployed", by="human", checks=(*ANSWERING, *EXPORTED), approvals=1),
        Transition(source="artifact-exported", target=REJECTED, by="agent"),
        Transition(source="customer-deployed", target="production-validated", by="human", checks=ANSWERING, approvals=1),
        Transition(source="customer-deployed", target=ROLLED_BACK, by="agent"),
        Transition(source="production-validated", target=DEPRECATED, by="loop"),
        Transition(source=DEPRECATED, target="production-validated", by="rollback"),
        Transition(source="production-validated", target=ROLLED_BACK, by="agent"),
        Transition(source=ROLLED_BACK, target="artifact-exported", by="agent", checks=(*OFFLINE, *EXPORTED)),
    ),
)
"""For what is handed over and served elsewhere."""

CHAINS = {chain.name: chain for chain in (STANDARD, CUSTOMER)}
"""By name. Stores hold these names and those of states: a preset may gain, and never renames."""

SERVED_HERE = frozenset({STANDARD.name})
"""Chains whose versions answer on this machine (`engine/serve`); what another brings into use is deployed elsewhere."""


# ---- moving ----------------------------------------------------------------------------------------------------------------------------


def transition_between(chain: Chain, source: State, target: State) -> Transition:
    """The edge from `source` to `target`. StateConflict says why there is none and what may follow instead."""
    for transition in chain.transitions:
        if (transition.source, transition.target) == (source, target):
            return transition
    following = leaving(chain, source)
    if target not in chain.states:
        why = f"the chain {chain.name} has no state {target[:80]!r}"
    elif source == target:
        why = f"it is {source} already"
    else:
        why = f"on the chain {chain.name} nothing leads from {source} to {target}"
    raise StateConflict(
        why,
        next_step=f"From {source} it may go to {'; '.join(map(in_words, following))}." if following else f"From {source} nothing follows.",
        source=source,
        target=target[:80],
        allowed=[transition.target for transition in following],
    )


def step_of(standing: VersionState, chosen: Chain, target: State | None) -> tuple[Chain, Transition]:
    """The chain and the edge by which a version goes to `target`, or onward; `chosen` is the cluster's chain with its policy.

    StateConflict where there is none, where it is the loop's, and where a version that another chain has brought this far would go on: the
    policy says who signs on the chosen one alone. Back it goes on any.
    """
    chain = chosen if standing.chain in ("", chosen.name) else CHAINS[standing.chain]
    transition = onward(chain, standing.state) if target is None else transition_between(chain, standing.state, target)
    if transition is None:
        following = "; ".join(map(in_words, leaving(chain, standing.state)))
        raise StateConflict(
            f"{standing.version} is {standing.state}, and nothing leads on from there", next_step=f"Name `to`: {following or 'nothing follows'}."
        )
    if transition.by == "loop":
        raise StateConflict(
            f"{standing.version} goes from {standing.state} to {transition.target} by the loop alone",
            next_step=f"iterate(cluster={standing.cluster!r}): a version that it accepts can be promoted.",
        )
    if transition.by == "rollback":
        raise StateConflict(
            f"{standing.version} has served before; from {standing.state} it comes back by a rollback alone",
            next_step=f"rollback(cluster={standing.cluster!r}, to={standing.version!r})",
        )
    if chain.name != chosen.name and (transition.by == "human" or transition.checks):
        raise StateConflict(
            f"{standing.version} came to {standing.state} on the chain {chain.name}, and {standing.cluster} has chosen {chosen.name} since",
            next_step="Take it back, or choose that chain again in clusters.json.",
        )
    return chain, transition


def leaving(chain: Chain, state: State) -> tuple[Transition, ...]:
    """The edges out of a state, in the table's order."""
    return tuple(transition for transition in chain.transitions if transition.source == state)


def onward(chain: Chain, state: State) -> Transition | None:
    """The edge out of a state that leads towards serving; None from where nothing does."""
    return next((transition for transition in leaving(chain, state) if transition.target in way(chain) and transition.by != "rollback"), None)


def restoring(chain: Chain, state: State) -> Transition | None:
    """The edge by which a rollback brings a version from `state` back to serving; None from where none does."""
    return next((transition for transition in leaving(chain, state) if transition.by == "rollback"), None)


def serves(chain: str, state: State) -> bool:
    """Whether a version that stands so is the one that answers."""
    return chain in CHAINS and CHAINS[chain].serving == state


def way(chain: Chain) -> tuple[State, ...]:
    """The states in order, from the first to the one that serves."""
    return chain.states[: chain.states.index(chain.serving) + 1]


def after_verdict(state: State, accepted: bool) -> State:
    """Where a verdict of the loop leaves a version that stands at `state`. What people and agents moved stays where they moved it."""
    verdict = ACCEPTED if accepted else REJECTED
    return verdict if any((each.source, each.target) == (state, verdict) for each in JUDGED) else state


def in_words(transition: Transition) -> str:
    """`canary (signed by 2 people)`."""
    if transition.by == "human":
        signed = "one person" if transition.approvals == 1 else f"{transition.approvals} people"
        return f"{transition.target} (signed by {signed})"
    return {"loop": f"{transition.target} (by the loop)", "rollback": f"{transition.target} (by a rollback)"}.get(transition.by, transition.target)


# ---- a cluster's own table -------------------------------------------------------------------------------------------------------------


def chain_for(name: str, policy: PromotionPolicy) -> Chain:
    """The preset of that name with a cluster's policy. ConfigInvalid when the result has a flaw."""
    preset = CHAINS[name]
    chain = preset.model_copy(update={"transitions": tuple(_signed(transition, policy) for transition in preset.transitions)})
    if found := flaws(chain):
        raise ConfigInvalid(
            f"the chain {name} cannot be used with this policy: {'; '.join(found)}", next_step="Correct `policy` of the cluster in clusters.json."
        )
    return chain


def _signed(transition: Transition, policy: PromotionPolicy) -> Transition:
    """What the policy asks of a transition that people sign; others stay as they are."""
    if transition.by != "human":
        return transition
    wanted = {str(state): signatures for state, signatures in policy.signatures.items()}.get(transition.target, Signatures())
    return transition.model_copy(update=wanted.model_dump())


# ---- what a table must be --------------------------------------------------------------------------------------------------------------


def flaws(chain: Chain) -> tuple[str, ...]:
    """What is wrong with a table, in sentences; empty when it may be used."""
    return (*_misnamed(chain), *_misstated(chain), *_out_of_reach(chain), *_unsigned(chain), *_restored(chain), *_stuck(chain))


def _misnamed(chain: Chain) -> Iterable[str]:
    named = [chain.first, chain.serving, *(end for transition in chain.transitions for end in (transition.source, transition.target))]
    for state in dict.fromkeys(named):
        if state not in chain.states:
            yield f"{state} is not among its states"
    for state in dict.fromkeys(state for state in chain.states if chain.states.count(state) > 1):
        yield f"{state} stands twice among its states"


def _misstated(chain: Chain) -> Iterable[str]:
    pairs = [(transition.source, transition.target) for transition in chain.transitions]
    for transition in chain.transitions:
        edge = f"{transition.source} -> {transition.target}"
        if transition.source == transition.target:
            yield f"{edge} leads nowhere"
        if pairs.count((transition.source, transition.target)) > 1:
            yield f"{edge} stands twice"
        if (transition.by == "human") != (transition.approvals > 0):
            yield f"{edge} is taken by {transition.by} with {transition.approvals} approvals; people sign, others do not"
    if not set(JUDGED) <= set(chain.transitions):
        yield "it does not begin with the loop's verdict"
    if Transition(source=chain.serving, target=DEPRECATED, by="loop") not in chain.transitions:
        yield f"{chain.serving} does not become {DEPRECATED} when another version takes its place"


def _out_of_reach(chain: Chain) -> Iterable[str]:
    reached = _reached(chain.first, chain.transitions)
    for state in chain.states:
        if state not in reached:
            yield f"nothing leads to {state}"


def _unsigned(chain: Chain) -> Iterable[str]:
    """The rule that matters most: from no state, the first or any other, can a version come to serve without people. A rollback is another
    matter (`_restored`): it is taken by versions that people have let serve."""
    without_people = [transition for transition in chain.transitions if transition.by not in ("human", "rollback")]
    for state in chain.states:
        if state != chain.serving and chain.serving in _reached(state, without_people):
            yield f"a version can come from {state} to {chain.serving} without anybody's signature"


def _restored(chain: Chain) -> Iterable[str]:
    """A rollback leads to the serving state, and out of a state in which nothing can stand that has not served."""
    restored = [transition for transition in chain.transitions if transition.by == "rollback"]
    served = {chain.serving, *(transition.source for transition in restored)} - {chain.first}
    for transition in restored:
        edge = f"{transition.source} -> {transition.target}"
        if transition.target != chain.serving:
            yield f"{edge} is a rollback to a state that does not serve"
        for entering in chain.transitions:
            if entering.target == transition.source and entering.source not in served:
                yield f"{edge} would let a version serve that came to {transition.source} from {entering.source}, where it has not served"
        if transition.source == chain.first:
            yield f"{edge} would let a version serve that was only just made"


def _stuck(chain: Chain) -> Iterable[str]:
    """States on the way that a version cannot leave in the direction of serving, or cannot be taken back from at once."""
    if chain.serving not in chain.states:
        return
    states = way(chain)
    for here, there in pairwise(states):
        if not any((each.source, each.target) == (here, there) for each in chain.transitions):
            yield f"nothing leads from {here} to {there}"
    for state in states:
        if state != chain.first and not any(each.by == "agent" and each.target not in states for each in leaving(chain, state)):
            yield f"a version cannot be taken back from {state} without a signature"


def _reached(start: State, transitions: Iterable[Transition]) -> set[State]:
    """Every state that can be come to from `start`, itself included."""
    edges = tuple(transitions)
    reached: set[State] = set()
    queue = [start]
    while queue:
        state = queue.pop()
        if state not in reached:
            reached.add(state)
            queue += [transition.target for transition in edges if transition.source == state]
    return reached
