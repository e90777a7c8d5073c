"""What a training that ran out of memory is tried with next, and what counts as running out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import Lora, ScriptedProfile, TrainOverrides
from engine.errors import ResourceExhausted
from engine.jobs.memory import oom_kills
from engine.train.memory import ladder, same_gradient
from engine.train.plan import plan_training
from engine.train.types import TrainPlan
from engine.train.worker import foreign_errors_named


class OutOfMemoryError(RuntimeError):
    """By its name alone what torch raises for a GPU."""


def planned(**changes: object) -> TrainPlan:
    plan = plan_training(ScriptedProfile(), TrainOverrides(), rows=100, device="cpu", seed=1, merge=False)
    return plan.model_copy(update=changes)


@given(batch=st.integers(1, 4096), rank=st.integers(1, 512), checkpointing=st.booleans(), warm=st.booleans(), data=st.data())
def test_every_rung_needs_less_keeps_the_batch_and_says_why(batch: int, rank: int, checkpointing: bool, warm: bool, data: st.DataObject) -> None:
    micro = data.draw(st.sampled_from([size for size in range(1, batch + 1) if batch % size == 0]))
    plan = planned(batch_size=batch, micro_batch_size=micro, gradient_checkpointing=checkpointing, warm_start=warm, lora=Lora(rank=rank))
    rungs = ladder(plan)
    assert rungs[0] == plan
    assert len(rungs) <= 9
    for more, less in pairwise(rungs):
        assert less.batch_size % less.micro_batch_size == 0
        assert less.batch_size == batch
        assert (less.micro_batch_size, not less.gradient_checkpointing, less.lora.rank) < (
            more.micro_batch_size,
            not more.gradient_checkpointing,
            more.lora.rank,
        )
        assert len(less.reasons) == len(more.reasons) + 1
    assert rungs[: len(same_gradient(plan))] == same_gradient(plan)
    assert not warm or rungs == same_gradient(plan)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("tried to allocate 2.00 GiB"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    ],
    ids=lambda error: f"{type(error).__name__}-{str(error)[:12]}",
)
def test_however_a_library_says_it_out_of_memory_is_one_error(error: Exception) -> None:
    with pytest.raises(ResourceExhausted) as caught, foreign_errors_named():
        raise error
    assert caught.value.details["resource"] == "memory"


def test_the_kernels_count_is_read_for_the_machine_and_for_the_control_group_of_either_version(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    assert oom_kills(proc, cgroups) == 0
    for path, text in {
        proc / "vmstat": "nr_free_pages 9\noom_kill 4\n",
        proc / "self/cgroup": "4:memory:/job/a\n0::/unit\n",
        cgroups / "unit/memory.events": "oom 7\noom_kill 2\n",
        cgroups / "memory/job/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert oom_kills(proc, cgroups) == 7
