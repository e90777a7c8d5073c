"""The faults that are known, as data: how each is brought about, how it must end, and the test that does it.

`tests/faults/test_matrix.py` holds the table to the tests; `python -m tests.faults.table` writes it into `docs/faults.md` with what the last recorded
run measured (`tests/faults/recorder.py`). A fault that is not here is not covered.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Ending = Literal["recovered", "refused", "ends with an error"]
"""`recovered`: by itself, with the result of an undisturbed run. `refused`: before it could do harm. `ends with an error`: bounded, with a code that
says what happened; nobody is left waiting."""


class Fault(NamedTuple):
    """One row of the matrix."""

    fault: str
    injected: str
    ending: Ending
    test: str


def row(fault: str, injected: str, ending: Ending, test: str) -> Fault:
    return Fault(fault, injected, ending, f"tests/{test}")


MATRIX: tuple[Fault, ...] = (
    # ---- processes
    row("worker killed in any step", "SIGKILL once in every step", "recovered", "faults/test_kills.py::test_a_kill_in_every_step_changes_nothing_but_the_time[worker-at_least0]"),
    row("model server killed in any step", "SIGKILL once in every step", "recovered", "faults/test_kills.py::test_a_kill_in_every_step_changes_nothing_but_the_time[server-at_least1]"),
    row("daemon killed in any step", "SIGKILL once in every step", "recovered", "faults/test_kills.py::test_a_kill_in_every_step_changes_nothing_but_the_time[daemon-at_least2]"),
    row("worker alive but stalled", "SIGSTOP", "recovered", "jobs/test_runs_with_workers.py::test_a_worker_that_is_alive_but_stalled_is_ended_and_started_again"),
    row("worker that always dies", "SIGKILL in each attempt", "ends with an error", "jobs/test_runs_with_workers.py::test_a_worker_that_always_dies_fails_the_run_and_names_the_end_of_its_log"),
    row("children left by a dead worker", "a child that ignores SIGTERM", "recovered", "jobs/test_runs_with_workers.py::test_children_that_a_dead_worker_left_are_ended"),
    row("worker of an older attempt comes back", "started again with its old epoch", "refused", "jobs/test_runs_with_workers.py::test_a_worker_of_an_older_attempt_refuses_to_work"),
    # ---- memory
    row("training out of memory", "RLIMIT_AS below what a micro batch takes", "recovered", "iterate/test_memory_run.py::test_a_training_out_of_memory_goes_on_with_smaller_micro_batches_and_the_same_batch"),
    row("training out of memory however small", "RLIMIT_AS below every rung", "ends with an error", "iterate/test_memory_run.py::test_the_last_resort_is_a_smaller_adapter_and_where_that_is_too_large_the_run_fails_for_memory"),
    row("training taken by the kernel for memory", "SIGKILL while the kernel's count rises (the count is a stand-in)", "ends with an error", "jobs/test_runs_with_workers.py::test_a_worker_that_the_kernel_takes_for_memory_ends_as_out_of_memory[train-1]"),
    # ---- training
    row("loss that is no number", "a worker that raises above a learning rate", "recovered", "iterate/test_scheduling.py::test_a_training_that_diverges_is_tried_again_at_half_the_rate"),
    row("loss that is no number at any rate", "the same below the halved rate", "ends with an error", "iterate/test_scheduling.py::test_a_run_that_diverges_twice_fails_and_the_next_one_begins_lower"),
    row("torn checkpoint", "a file cut short", "recovered", "train/test_checkpoints.py::test_a_torn_checkpoint_is_removed_and_the_one_before_is_used"),
    # ---- disk
    row("disk too small for a run", "a machine that reports 1 GiB free", "refused", "iterate/test_iterate_run.py::test_a_run_that_the_disk_cannot_hold_is_refused_before_it_begins"),
    row("disk full while a worker writes", "a tmpfs of 32 MiB", "recovered", "faults/test_full_disk.py::test_a_run_stopped_by_a_full_disk_goes_on_when_there_is_room"),
    row("disk full again and again", "ENOSPC in each attempt", "ends with an error", "jobs/test_runs_with_workers.py::test_a_run_that_the_disk_stops_again_and_again_asks_for_more_room_each_time_and_then_fails"),
    row("files of the store may not grow", "RLIMIT_FSIZE", "recovered", "store/test_io_errors.py::test_files_that_may_not_grow_lose_nothing"),
    # ---- bytes
    row("changed base", "a flipped bit on the disk", "recovered", "faults/test_altered_weights.py::test_a_changed_base_is_prepared_anew_and_a_changed_adapter_is_marked"),
    row("changed version", "a byte changed on the disk", "refused", "generate/test_servers.py::test_a_version_whose_bytes_have_changed_on_disk_is_never_loaded"),
    row("power cut at any write of the journal", "every disk image that a cut can leave", "recovered", "store/test_power_cuts.py::test_every_disk_that_a_cut_can_leave_of_the_journal_keeps_what_was_acknowledged"),
    row("damaged database", "bytes flipped, zeroed, cut, deleted", "recovered", "store/test_damage.py::test_no_damage_to_the_database_loses_a_command"),
    row("damaged journal", "a line changed in the middle", "refused", "store/test_damage.py::test_a_journal_damaged_inside_is_refused_and_nothing_is_set_aside"),
    row("kills and damage at random", "a random killer over the store's owner", "recovered", "store/test_crashes.py::test_random_kills_and_damage_lose_no_acknowledged_command"),
    # ---- model servers
    row("server hangs", "a stand-in that accepts and is silent", "recovered", "generate/test_servers.py::test_a_server_that_hangs_is_replaced"),
    row("server never starts", "a stand-in that exits", "ends with an error", "generate/test_servers.py::test_a_server_that_never_starts_is_given_up_with_its_log"),
    row("stranger on the port", "another server where ours was", "recovered", "generate/test_servers.py::test_a_stranger_on_the_port_is_not_taken_for_our_server"),
    row("wrong weights answer", "a stand-in that loads others", "refused", "generate/test_servers.py::test_wrong_weights_are_never_answered_from"),
    # ---- clocks, callers, repetition
    row("wall clock set by days, forward and back", "a clock shim under the engine", "recovered", "faults/test_clock.py::test_an_iterate_run_outlives_a_clock_that_is_set_forward_and_back"),
    row("the same failure run after run", "a worker that fails alike", "ends with an error", "iterate/test_repeating.py::test_the_third_run_that_ends_alike_says_that_starting_again_does_not_help"),
    row("submitted twice", "one key, twice", "recovered", "jobs/test_runs_without_workers.py::test_the_same_key_gives_the_same_run_even_when_its_job_would_now_be_another"),
    row("submissions that race", "threads at a barrier", "refused", "jobs/test_runs_without_workers.py::test_of_racing_submissions_one_wins"),
    row("names that leave the workspace", "traversal and links in names and row files", "refused", "config/test_loading.py::test_a_domain_name_or_row_file_that_leaves_the_workspace_is_refused"),
    row("changed byte in a package", "a flipped byte in each file", "refused", "promote/package/test_package.py::test_a_flipped_byte_in_any_file_is_refused"),
)
