"""Advances an iterate run: evaluate, diagnose, train, evaluate again, decide, and round again.

An iterate run has no process. Everything it has done stands in the store: its child runs (one a step, found by the step's name) and its
ledger (one row a round). `advance` reads both, submits the first step that is missing, and returns; the supervisor calls it again when a
child has ended. So a daemon that dies at any instant goes on where it was: a step that was recorded is not done again, and one that was not
is submitted under the same key, which the store answers with the run that is already there.

    0.prepare            the base model as safetensors, once a machine (only for a managed model)
    0.compile            the domain: suite, splits, training pool
    0.rotate             the domain again, when its held-out set was spent and the reserve takes over (`held_out.py`)
    0.floor              baselines without a language model
    0.measure_base       the base on core and held-out
    1.measure_incumbent  only when the run begins with a version; what did not change comes from the cache
    0.teach_<n>          only where the domain teaches a teacher's answers: its n-th teacher's, until one is usable
    1.try_cheap          only when it begins with the base: what examples in the prompt and the schema switch buy, on a sample of core
    <k>.search           settings to try, only when the schedule's rules have nothing to say
    <k>.curate           training rows for the incumbent's failure patterns, through the leakage guard
    <k>.pairs            only for DPO: the incumbent's failed answers to training prompts, paired with better ones
    <k>.train            an adapter; <k>.train_again at half the rate when that diverged
    <k>.train_smaller_<n>  only when the training before it ran out of memory: the n-th rung of `engine/train/memory.py`
    <k>.train_sft        only when GRPO or DPO found nothing to learn from, or collapsed: the same rows, supervised
    <k>.measure_challenger  core in full, held-out until its refusal is certain (unless `eval.early_stop` is off)
    <k>.no_harm          general and safety items, only for a challenger that would be accepted otherwise; once before it, 0.no_harm_base
    <step>_mend          only when a step found a base or merged weights changed on the disk: made again; then <step>_again
    then the decision, the ledger row and the new incumbent, in one transaction
    0.draft              at the end, only where a teacher is usable: training rows about what training did not move, reworded
    then scenarios drafted for that by transformation; all of them staged for a person

Diagnosing, planning and deciding are pure and quick, so they happen here. The model server starts while the domain compiles and the floor is
fitted, and stays up during training when memory allows. The floor is not fitted beside a measurement: on a machine of two cores a second busy
process stalls the server's threads at every barrier, which costs far more than it saves.
"""

from __future__ import annotations

from engine.errors import WorkerLost
from engine.iterate.campaign import Campaign
from engine.iterate.repeating import ended_alike
from engine.iterate.steps import LoopContext, StepFailed, Waiting
from engine.jobs.types import Run, RunError


class IterateDriver:
    """The driver of runs of kind `iterate`."""

    def __init__(self, context: LoopContext) -> None:
        self.context = context

    def advance(self, run: Run) -> None:
        """Does what can be done now: submits the next step, records a round, or finishes the run."""
        campaign = Campaign(self.context, run)
        try:
            campaign.proceed()
        except Waiting:
            return
        except StepFailed as failure:
            child = failure.child
            error = child.error or RunError(code=WorkerLost.code, message=f"{child.id} ended as {child.state} without saying why")
            if child.state == "cancelled":
                error = RunError(code="cancelled", message=f"step {child.step} ({child.id}) was cancelled", next_step="Start the iterate run again.")
            details = {**error.details, "step": child.step, "run_id": child.id}
            ended = ended_alike(self.context.store, run, error.model_copy(update={"details": details}))
            self.context.supervisor.finish_driver(run, state="failed", error=ended)

    def cancel(self, run: Run) -> None:
        """Cancels what is running beneath `run`."""
        for child in self.context.supervisor.list(parent=run.id):
            if child.state in ("queued", "running", "interrupted"):
                self.context.supervisor.cancel(child.id, reason=f"{run.id} is cancelled", actor=run.id)
