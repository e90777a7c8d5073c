"""The settings of the next round, from the ledger: what was tried, and what came of it.

Promises: equal history, settings and facts give an equal schedule; every value that differs from the profile's or from the last round's has a
sentence saying why; the domain's overrides always win, and say so; after a regression no rule raises the learning rate; every value stays
within its bounds below. Pure.

The rules, in order, each a function with its ground in its docstring:

    halve_after_regression      learning rate    the challenger was worse, with an interval below zero
    halve_after_divergence      learning rate    the loss was no number
    restore_after_acceptance    learning rate    slowly back to where it was before a halving
    more_data_when_gap_opens    max_rows         the rows are learnt, held-out did not follow
    other_method_on_plateau     method           two rounds that nobody can tell from their incumbents
    rank_for_rows               rank             never less than the rows ask for
    epochs_for_rows             epochs           a budget of steps
    replay_after_losses         replay share     what passed before fails now
    warm_start_when_it_pays     warm start       the last round was accepted, or little is left to learn

A round hands its values on to the next one where profile and domain are still what they were; where a person changed them, the schedule
starts from them again. When no rule changes anything after a round that was not accepted, the settings would be tried again with other dice:
then a search (`engine/train/search_worker.py`) is asked for a learning rate and a number of passes, given every recorded round as a trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from engine.config import Profile, TrainOverrides
from engine.train.plan import AVAILABLE_METHODS, settings_of, unscheduled
from engine.train.preference_plan import DPO_RATE, GRPO_RATE
from engine.train.types import Facts, Method, PastRound, Schedule, Search, Suggestion, Trial

HALVED = 0.5
RESTORED = 1.25
"""Three acceptances undo a halving: what once did harm is approached again with care."""
LOWEST_RATE, HIGHEST_RATE = 1 / 16, 2.0
"""Bounds of the learning rate, as multiples of the rate that the method starts from."""
RATE_OF_METHOD: dict[Method, float] = {"sft": 1.0, "grpo": GRPO_RATE, "dpo": DPO_RATE}
"""Where a method starts, as a multiple of the profile's rate, which is for SFT."""
LEARNT = 0.25
"""The rows count as learnt when the last loss is below this share of the first."""
MORE_ROWS = 1.5
SCORES_FOR_GRPO = (0.15, 0.95)
"""Below, almost all answers to a prompt score nothing, above almost all score fully: without spread there is no advantage to learn from."""
RANK_FOR_ROWS = ((1_000, 4), (2_000, 8), (4_000, 16), (8_000, 32), (16_000, 64))
LARGEST_RANK = 128
FEWEST_STEPS = 60
MOST_PASSES = 4.0
EPOCHS = (0.25, 8.0)
"""Bounds of the epochs; a profile or domain that asks for more is followed."""
REPLAY_STEP, REPLAY_BACK, MOST_REPLAY = 0.15, 0.05, 0.9
WORSE_SHARE = 0.1
LITTLE_LEFT = 0.25
WARM_RATE = 0.5
OCTAVES = 1.0
"""The search stays within a factor of two of where the method starts: it is for settings that are nearly right."""
DIVERGED_BELOW = 0.05
"""A training that diverged counts as this much below the lowest round, so that the search keeps away from it."""

_OVERRIDABLE = ("learning_rate", "rank", "epochs", "max_rows", "replay_share")
_NAMES = ("method", "learning_rate", "rank", "epochs", "max_rows", "replay_share", "warm_start")
_WORDS = {"sft": "SFT", "grpo": "GRPO", "dpo": "DPO"}


def schedule(
    history: Sequence[PastRound], profile: Profile, overrides: TrainOverrides, facts: Facts, suggestion: Suggestion | None = None
) -> Schedule:
    """The settings of the next round. `history` is the ledger of this domain with this model, oldest round first. When the answer holds a
    `search`, rules had nothing to say: ask the search worker and call again with its `suggestion`."""
    draft = Draft(history, profile, overrides, facts)
    for rule in RULES:
        rule(draft)
    if draft.is_silent():
        _search(draft, suggestion)
    return draft.finished()


def in_one_line(number: int, reasons: Sequence[str], *, most: int = 600) -> str:
    """Why a round trains as it does, for a status."""
    text = " ".join(reasons) if reasons else "as the profile says."
    return f"Settings of round {number}: {text if len(text) <= most else text[: most - 1].rstrip() + '…'}"


class Draft:
    """A schedule on its way through the rules: its values so far, which of them the domain has fixed, and what was said about each."""

    def __init__(self, history: Sequence[PastRound], profile: Profile, overrides: TrainOverrides, facts: Facts) -> None:
        training, _ = settings_of(profile)
        self.facts = facts
        self.history = history
        self.batch_size = training.batch_size
        self.usual = unscheduled(profile, TrainOverrides(), pool_rows=facts.pool_rows)
        """The profile's values."""
        self.base = unscheduled(profile, overrides, pool_rows=facts.pool_rows)
        """Those with the domain's overrides."""
        self.rounds = [one for one in history if one.schedule.grounds == self.base.grounds]
        self.last = history[-1] if history and self.rounds and history[-1] is self.rounds[-1] else None
        """The last round, when it hands its values on."""
        self.fixed = {name for name in _OVERRIDABLE if getattr(overrides, name) is not None}
        self.values: dict[str, Any] = {name: getattr(self.base, name) for name in _NAMES}
        self.passes = 1.0
        """Epochs as a multiple of what the step budget gives."""
        self.notes: list[tuple[str, str]] = [(reason.partition(" ")[0], reason) for reason in self.base.reasons]
        self.asked: Search | None = None
        if overrides.method != "auto":
            self.fixed.add("method")
            self.values |= {"method": overrides.method, "learning_rate": self.start_rate(overrides.method)}
            if overrides.method != "sft":
                self.notes.append(("method", f"method is {overrides.method} instead of sft: the domain sets it."))
        if self.last is not None:
            self._carry(self.last)
        elif history:
            self.notes.append(("", "The profile's settings or the domain's overrides have changed since the last round: it hands nothing on."))

    def _carry(self, last: PastRound) -> None:
        handed = last.schedule
        carried: dict[str, Any] = {name: getattr(handed, name) for name in ("epochs", "max_rows", "replay_share")}
        if handed.method in AVAILABLE_METHODS:
            carried |= {"method": handed.method, "learning_rate": rate_anew(handed)}
        self.values |= {name: value for name, value in carried.items() if name not in self.fixed}
        self.passes = handed.epochs / self.budget(handed.rows)

    @property
    def rows(self) -> int:
        """Different rows that the round will train on."""
        return min(self.facts.pool_rows, int(self.values["max_rows"]))

    def start_rate(self, method: Method) -> float:
        """The rate that a method starts from."""
        return self.base.learning_rate * RATE_OF_METHOD[method]

    def budget(self, rows: int) -> float:
        """Epochs that the step budget gives for `rows` rows."""
        return epochs_within_budget(self.base.epochs, rows, batch_size=self.batch_size, usual_rows=self.base.max_rows)

    def set(self, name: str, value: Any, why: str) -> None:
        """Moves a value, unless the domain has fixed it; either is said."""
        current = self.values[name]
        if value == current:
            return
        if name in self.fixed:
            self.notes.append((name, f"{name} stays {_spelt(current)}, which the domain sets; else it would be {_spelt(value)}: {why}."))
            return
        self.values[name] = value
        self.say(name, f"{name} is {_spelt(value)} instead of {_spelt(current)}: {why}.")

    def set_rate(self, rate: float, why: str) -> None:
        """Moves the learning rate, within its bounds."""
        start = self.start_rate(self.values["method"])
        self.set("learning_rate", _figures(min(max(rate, start * LOWEST_RATE), start * HIGHEST_RATE)), why)

    def say(self, name: str, sentence: str) -> None:
        self.notes.append((name, sentence))

    def is_silent(self) -> bool:
        """Whether the last round's settings would be tried again although they were not accepted. After a regression nothing is searched."""
        last = self.last
        same = last is not None and all(self.values[name] == getattr(last.schedule, name) for name in _NAMES)
        return last is not None and same and last.outcome == "rolled_back" and not regressed(last)

    def finished(self) -> Schedule:
        """The schedule, with a sentence for each value that differs from the profile's or the last round's."""
        said = {name for name, _ in self.notes}
        for name in _NAMES:
            value, usual = self.values[name], getattr(self.usual, name)
            before = getattr(self.last.schedule, name) if self.last else usual
            if name not in said and (value != usual or value != before):
                self.say(name, _unmoved(name, value, usual, before))
        order = {name: place for place, name in enumerate(("", *_NAMES))}
        reasons = [sentence for _, sentence in sorted(self.notes, key=lambda note: order[note[0]])]
        return Schedule(**self.values, rows=self.rows, grounds=self.base.grounds, reasons=tuple(reasons), search=self.asked)


# ---- the rules -------------------------------------------------------------------------------------------------------------------------


def halve_after_regression(draft: Draft) -> None:
    """A challenger that is shown to be worse went too far from what worked; half the rate is the usual first answer (Bengio, "Practical
    Recommendations for Gradient-Based Training of Deep Architectures", 2012, on searching rates by factors of two)."""
    last = draft.last
    if last is not None and regressed(last):
        why = f"the last round was worse than its incumbent, {_change(last)}, so the rate is halved"
        draft.set("learning_rate", _halved(draft, last), why)


def halve_after_divergence(draft: Draft) -> None:
    """A loss that is no number means that steps were too long."""
    last = draft.last
    if last is not None and last.outcome == "diverged":
        draft.set("learning_rate", _halved(draft, last), "the last training diverged, so the rate is halved")


def restore_after_acceptance(draft: Draft) -> None:
    """What a halving took comes back slowly while versions are accepted. A rate that the search has found is left alone."""
    last = draft.last
    start = draft.start_rate(draft.values["method"])
    had_harm = any(regressed(one) or one.outcome == "diverged" for one in draft.rounds)
    if last is not None and last.outcome == "accepted" and had_harm and draft.values["learning_rate"] < start:
        rate = min(start, draft.values["learning_rate"] * RESTORED)
        draft.set_rate(rate, f"the last round was accepted, so the rate goes back towards {_spelt(start)}")


def more_data_when_gap_opens(draft: Draft) -> None:
    """Rows that are learnt without held-out following are too few for what they should teach: the remedy for a gap is data, not more of the
    same steps. Half as many rows again, up to the pool."""
    last = draft.last
    if last is None or (gap := gap_in_words(last)) == "":
        return
    pool, limit = draft.facts.pool_rows, draft.values["max_rows"]
    if draft.rows >= pool:
        draft.say("max_rows", f"max_rows stays {limit}: {gap}, but the pool's {pool} rows are all used; label more.")
    else:
        draft.set("max_rows", min(pool, math.ceil(limit * MORE_ROWS)), f"{gap}, and the pool has {pool} rows")


def other_method_on_plateau(draft: Draft) -> None:
    """Two challengers in a row that cannot be told from their incumbents: this method has given what it has. Rewards need answers that can be
    ranked; pairs need only right and wrong ones."""
    method: Method = draft.values["method"]
    recent = draft.rounds[-2:]
    if draft.last is None or len(recent) < 2 or not all(flat(one) and one.schedule.method == method for one in recent):
        return
    low, high = SCORES_FOR_GRPO
    by_reward = draft.facts.partial_credit and low <= draft.facts.mean <= high
    wanted: Method = "sft" if method != "sft" else "grpo" if by_reward else "dpo"
    why = f"the last two rounds, by {_WORDS[method]}, differ from their incumbents by less than could be shown"
    if wanted == "grpo":
        why += f", and a mean of {draft.facts.mean:.2f} with partial credit leaves something to reward"
    if wanted not in AVAILABLE_METHODS:
        draft.say("method", f"method stays {method}: {why}, which asks for {_WORDS[wanted]}, but this installation cannot train so.")
        return
    draft.set("method", wanted, why)
    if draft.values["method"] == wanted:
        draft.set_rate(draft.start_rate(wanted), f"{_WORDS[wanted]} starts from its own rate")


def rank_for_rows(draft: Draft) -> None:
    """An adapter must hold what the rows teach; a larger one costs time, not quality. So the profile's rank is raised where rows ask for it
    and never lowered.

    Schulman et al., "LoRA Without Regret" (2025): with all layers adapted, ranks learn alike until the data exceed what the adapter holds,
    and the lower the rank, the earlier its curve falls off. What it holds is of the order of 2 bits a parameter (Allen-Zhu & Li, "Physics of
    Language Models 3.3", 2024), against about 1 bit a token to be learnt. RANK_FOR_ROWS allows 250 rows for each unit of rank: in the
    smallest model here (224,000 adapter parameters for each unit) with answers of 100 tokens that is a seventeenth of that capacity, so it
    errs towards a larger rank, and more so for larger models.
    """
    needed = next((rank for most, rank in RANK_FOR_ROWS if draft.rows <= most), LARGEST_RANK)
    if needed <= draft.values["rank"]:
        return
    most = draft.facts.largest_rank
    why = f"{draft.rows} rows ask for at least {needed}"
    if most is None or needed <= most:
        draft.set("rank", needed, why)
    elif draft.values["rank"] < most:
        draft.set("rank", most, f"{why}, and the model server takes no more (lora.rank in the profile)")
    else:
        draft.say("rank", f"rank stays {draft.values['rank']}: {why}, but the model server takes no more (lora.rank in the profile).")


def epochs_for_rows(draft: Draft) -> None:
    """Epochs follow from a budget of steps, see `epochs_within_budget`."""
    epochs = _bounded_epochs(draft, draft.budget(draft.rows) * draft.passes)
    if math.isclose(epochs, draft.values["epochs"], rel_tol=0.005):
        return
    more = draft.rows > draft.base.max_rows
    ground = f"there are more rows than {draft.base.max_rows}" if more else f"fewer passes would be less than {FEWEST_STEPS} steps"
    draft.set("epochs", epochs, f"over {draft.rows} rows that is about {round(draft.rows * epochs / draft.batch_size)} steps, and {ground}")


def replay_after_losses(draft: Draft) -> None:
    """What passed before and fails now was crowded out: a larger part of the set is drawn evenly from everything (Rolnick et al., "Experience
    Replay for Continual Learning", 2019). After an acceptance it goes back slowly."""
    last, share = draft.last, draft.values["replay_share"]
    if last is None:
        return
    if last.outcome == "accepted":
        if share > draft.base.replay_share:
            back = max(draft.base.replay_share, _figures(share - REPLAY_BACK))
            draft.set("replay_share", back, "the last round was accepted, so more may be aimed at failures again")
    elif (loss := loss_in_words(last)) and share < MOST_REPLAY:
        draft.set("replay_share", min(MOST_REPLAY, _figures(share + REPLAY_STEP)), f"in the last round {loss}")


def warm_start_when_it_pays(draft: Draft) -> None:
    """Going on from the incumbent's adapter saves learning the same again, and keeps what it has; but it stays near where it was. So: when the
    adapter fits, and either little is left to learn, at a smaller rate, or the last round was accepted with much left: at the full rate, because
    a training from the base would first have to learn what that one taught (Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", 2017). A warm start that was not accepted is not repeated."""
    facts, last = draft.facts, draft.last
    lora = facts.incumbent_lora
    if lora is None:
        return
    if last is not None and last.schedule.warm_start and last.outcome != "accepted":
        draft.say("warm_start", "warm_start is no instead of yes: going on from the incumbent was not accepted in the last round.")
        return
    by_method = draft.values["method"] != "sft"
    little = facts.failing_share <= LITTLE_LEFT
    goes_well = last is not None and last.outcome == "accepted" and last.challenger == facts.incumbent
    if lora.rank != draft.values["rank"] or not (by_method or little or goes_well):
        return
    draft.values["warm_start"] = True
    draft.say("warm_start", f"warm_start is yes: {_ground_of_warm_start(draft, by_method=by_method, little=little)}.")
    if little and not by_method:
        draft.values["warm_rate"] = WARM_RATE
        draft.set("learning_rate", _figures(draft.values["learning_rate"] * WARM_RATE), "a trained adapter needs smaller steps")


def _ground_of_warm_start(draft: Draft, *, by_method: bool, little: bool) -> str:
    if by_method:
        return f"{_WORDS[draft.values['method']]} improves on a trained adapter"
    fails = f"{draft.facts.incumbent} fails {draft.facts.failing_share:.0%} of core"
    return f"{fails}, so little is left to learn" if little else f"the last round was accepted and {fails}: training goes on where it ended"


RULES: tuple[Callable[[Draft], None], ...] = (
    halve_after_regression,
    halve_after_divergence,
    restore_after_acceptance,
    more_data_when_gap_opens,
    other_method_on_plateau,
    rank_for_rows,
    epochs_for_rows,
    replay_after_losses,
    warm_start_when_it_pays,
)


# ---- what a round was ------------------------------------------------------------------------------------------------------------------


def regressed(one: PastRound) -> bool:
    """The challenger is shown to be worse: the paired interval lies below zero."""
    return one.outcome == "rolled_back" and one.high < 0


def flat(one: PastRound) -> bool:
    """The challenger cannot be told from its incumbent."""
    return one.outcome == "rolled_back" and not regressed(one) and abs(one.after - one.before) < one.detectable


def gap_in_words(one: PastRound) -> str:
    """How the rows were learnt while held-out did not follow; empty when that is not so."""
    if one.outcome != "rolled_back" or one.low > 0:
        return ""
    if one.core_gain is not None and one.core_gain - (one.after - one.before) > one.detectable:
        return f"in the last round core moved by {one.core_gain:+.3f} and held-out by {one.after - one.before:+.3f}, so a gap opens"
    if one.first_loss is not None and one.final_loss is not None and one.final_loss <= LEARNT * one.first_loss:
        return f"in the last round the loss fell from {one.first_loss:.2f} to {one.final_loss:.2f} and held-out is not shown to improve"
    return ""


def loss_in_words(one: PastRound) -> str:
    """What was lost that passed before; empty when nothing was."""
    if one.slices_lost:
        return "a guarded slice lost more than its tolerance"
    if one.items and one.worse >= one.better and one.worse / one.items > WORSE_SHARE:
        return f"{one.worse} of {one.items} held-out items got worse and {one.better} better"
    return ""


def rate_anew(handed: Schedule) -> float:
    """A round's learning rate without the reduction for a warm start."""
    return _figures(handed.learning_rate / handed.warm_rate)


def epochs_within_budget(epochs: float, rows: int, *, batch_size: int, usual_rows: int) -> float:
    """Passes over `rows` rows, from the `epochs` that are meant for up to `usual_rows`: more where that gives fewer than FEWEST_STEPS steps,
    as far as MOST_PASSES (repeating data up to four times is nearly as good as new data: Muennighoff et al., "Scaling Data-Constrained
    Language Models", 2023); fewer where there are more rows than the profile reckons with, so that a run costs the same, but one pass at least."""
    fewer = max(min(epochs, 1.0), _figures(epochs * usual_rows / rows)) if rows > usual_rows else epochs
    return max(fewer, min(MOST_PASSES, _figures(FEWEST_STEPS * batch_size / rows)))


# ---- the search ------------------------------------------------------------------------------------------------------------------------


def _search(draft: Draft, suggestion: Suggestion | None) -> None:
    """Asks for a suggestion, or takes the one that came."""
    free: tuple[tuple[Literal["rate", "passes"], str], ...] = (("rate", "learning_rate"), ("passes", "epochs"))
    vary = tuple(dimension for dimension, name in free if name not in draft.fixed)
    if not vary:
        draft.say("", "No rule changes anything, and the domain fixes learning_rate and epochs: the settings are tried again with another seed.")
        return
    if suggestion is None:
        draft.asked = Search(trials=trials(draft), vary=vary, low=-OCTAVES, high=OCTAVES, seed=draft.facts.seed + len(draft.history))
        return
    why = f"no rule changes anything, and a search over the ledger ({_counted(len(draft.history))}) expects most of this"
    if "rate" in vary:
        draft.set_rate(draft.start_rate(draft.values["method"]) * 2.0**suggestion.rate, why)
    if "passes" in vary:
        draft.set("epochs", _bounded_epochs(draft, draft.budget(draft.rows) * 2.0**suggestion.passes), why)


def trials(draft: Draft) -> tuple[Trial, ...]:
    """Every recorded round as a trial. Paired differences add up: a challenger's level is its incumbent's plus what it gained, whichever suite
    that was measured on. Trainings that diverged stand below the lowest."""
    levels: dict[str, float] = {}
    current, reached = 0.0, list[float | None]()
    for one in draft.history:
        level = levels.setdefault(one.incumbent, current)
        value = None if one.outcome == "diverged" else level + one.after - one.before
        reached.append(value)
        if value is not None and one.challenger is not None:
            levels.setdefault(one.challenger, value)
            current = value if one.outcome == "accepted" else current
    lowest = min((value for value in reached if value is not None), default=0.0)
    return tuple(
        Trial(
            rate=math.log2(rate_anew(one.schedule) / draft.start_rate(one.schedule.method)),
            passes=math.log2(one.schedule.epochs / draft.budget(one.schedule.rows)),
            value=lowest - DIVERGED_BELOW if value is None else value,
            error=max(0.0, one.high - one.low) / (2 * 1.96),
        )
        for one, value in zip(draft.history, reached, strict=True)
    )


# ---- words and figures -----------------------------------------------------------------------------------------------------------------


def _halved(draft: Draft, last: PastRound) -> float:
    rate = last.schedule.learning_rate
    return min(rate, _figures(max(rate * HALVED, draft.start_rate(last.schedule.method) * LOWEST_RATE)))


def _bounded_epochs(draft: Draft, epochs: float) -> float:
    low, high = EPOCHS
    return _figures(min(max(epochs, min(low, draft.base.epochs)), max(high, draft.base.epochs)))


def _counted(rounds: int) -> str:
    return "1 round" if rounds == 1 else f"{rounds} rounds"


def _figures(value: float) -> float:
    """Three digits: more would claim what nobody knows, and make equal settings look different."""
    return float(f"{value:.3g}")


def _spelt(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _change(one: PastRound) -> str:
    return f"{one.after - one.before:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def _unmoved(name: str, value: Any, usual: Any, before: Any) -> str:
    if value == before:
        return f"{name} stays {_spelt(value)} as in the last round; the profile's is {_spelt(usual)}."
    if value == usual:
        return f"{name} is back at {_spelt(usual)} after {_spelt(before)} in the last round."
    return f"{name} is {_spelt(value)}, what the last round had before it was reduced to {_spelt(before)} for its warm start."
