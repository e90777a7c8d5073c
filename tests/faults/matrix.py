"""The faults that are known, as data: of which kind each is, how it is brought about, how it must end, and the test that does it.

`tests/faults/test_matrix.py` holds the table to the tests; `python -m tests.faults.table` writes it into `docs/faults.md` with what the last recorded
run measured (`tests/faults/recorder.py`). A fault that is not here is not covered.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal[
    "worker killed",
    "daemon killed",
    "model server killed",
    "orphans",
    "stalled or stale process",
    "signals",
    "power cut",
    "failing system call",
    "odd file system",
    "disk full",
    "out of memory",
    "diverging training",
    "changed weights",
    "damaged checkpoint",
    "damaged store",
    "damaged journal",
    "altered package",
    "pickles and archives",
    "oversized input",
    "path traversal",
    "malformed configuration",
    "bad rows",
    "hostile text",
    "port taken",
    "sick model server",
    "clock",
    "repeated request",
    "races",
    "version skew",
    "request that cannot be",
    "repeating failure",
]
"""Kinds of fault. Each has rows."""

Ending = Literal["recovered", "recovered by runbook", "escalated", "refused"]
"""`recovered`: by itself, with the result of an undisturbed run. `recovered by runbook`: a runbook was carried out, and its verification passed.
`escalated`: it ended with an error, and its escalation is complete (`tests/escalate/complete.py`). `refused`: before it could do harm, with a reason."""


class Row(NamedTuple):
    """A fault as its kind lists it."""

    fault: str
    injected: str
    ending: Ending
    test: str
    runbook: str = ""
    """The one that was carried out, where that is how it ends."""


class Fault(NamedTuple):
    """One row of the matrix."""

    kind: Kind
    fault: str
    injected: str
    ending: Ending
    test: str
    runbook: str


def recovered(fault: str, injected: str, test: str) -> Row:
    return Row(fault, injected, "recovered", test)


def refused(fault: str, injected: str, test: str) -> Row:
    return Row(fault, injected, "refused", test)


def escalated(fault: str, injected: str, test: str) -> Row:
    return Row(fault, injected, "escalated", test)


def by_runbook(runbook: str, fault: str, injected: str, test: str) -> Row:
    return Row(fault, injected, "recovered by runbook", f"escalate/test_executions.py::{test}", runbook)


def of(kind: Kind, *rows: Row) -> tuple[Fault, ...]:
    return tuple(Fault(kind, row.fault, row.injected, row.ending, f"tests/{row.test}", row.runbook) for row in rows)


MATRIX: tuple[Fault, ...] = (
    # ---- processes
    *of(
        "worker killed",
        recovered("worker killed in any step", "SIGKILL once in every step", "faults/test_kills.py::test_a_kill_in_every_step_changes_nothing_but_the_time[worker-at_least0]"),
        recovered("training killed", "SIGKILL early, in the middle and before the last step", "train/test_scripted_training.py::test_a_killed_training_ends_with_the_adapter_of_one_that_was_not"),
        recovered("preparation of a base interrupted", "cut off while weights are made, proved and published", "generate/test_preparing.py::test_an_interrupted_preparation_is_not_found_and_the_next_one_ends_right"),
        escalated("worker that always dies", "SIGKILL in each attempt", "jobs/test_runs_with_workers.py::test_a_worker_that_always_dies_fails_the_run_and_names_the_end_of_its_log"),
        by_runbook("worker-lost", "worker killed until its run is given up", "SIGKILL in each attempt, under a real daemon", "test_a_worker_that_is_killed_again_and_again_fails_its_run_and_the_next_one_works"),
    ),
    *of(
        "daemon killed",
        recovered("daemon killed in any step", "SIGKILL once in every step", "faults/test_kills.py::test_a_kill_in_every_step_changes_nothing_but_the_time[daemon-at_least2]"),
        recovered("daemon killed with a worker at work", "the store closed and opened again", "jobs/test_runs_with_workers.py::test_a_live_worker_is_adopted_by_the_next_daemon"),
        recovered("daemon killed between a claim and a start", "a run claimed and not started", "jobs/test_runs_with_workers.py::test_a_run_that_was_claimed_but_not_started_is_started_by_the_next_daemon"),
        recovered("worker ends while no daemon runs", "a result written meanwhile", "jobs/test_runs_with_workers.py::test_a_result_that_was_written_while_no_daemon_ran_is_taken_in_once"),
        recovered("daemon killed over a promotion", "killed before and after the command", "promote/test_records.py::test_a_process_killed_over_a_promotion_leaves_the_state_before_or_after_it"),
        recovered("daemon killed in a rollback", "killed at every step of it", "serve/test_rollback.py::test_a_daemon_killed_at_any_step_leaves_the_version_before_or_after"),
        escalated("daemon killed as a run fails", "SIGKILL before it is looked into", "escalate/test_daemon_escalates.py::test_a_run_that_fails_is_escalated_though_the_daemon_is_killed_as_it_ends"),
        by_runbook("daemon-silent", "daemon that does not start", "killed, and its command replaced by one that is silent", "test_a_daemon_that_cannot_be_started_is_started_when_its_way_is_free"),
    ),
    *of(
        "model server killed",
        recovered("model server killed in any step", "SIGKILL once in every step", "faults/test_kills.py::test_a_kill_in_every_step_changes_nothing_but_the_time[server-at_least1]"),
        recovered("model server killed in a batch", "SIGKILL after ten answers", "generate/test_servers.py::test_a_server_killed_in_the_middle_of_a_batch_is_replaced"),
        recovered("killed between loading and recording", "the process exits there", "generate/test_servers.py::test_a_crash_between_loading_and_recording_means_that_the_weights_are_loaded_again"),
        recovered("server that serves killed", "SIGKILL under requests", "serve/test_rollback.py::test_a_server_killed_under_requests_is_replaced_and_none_fails"),
    ),
    *of(
        "orphans",
        recovered("children left by a dead worker", "a child that ignores SIGTERM", "jobs/test_runs_with_workers.py::test_children_that_a_dead_worker_left_are_ended"),
        recovered("server started and never recorded", "its record removed", "generate/test_servers.py::test_a_start_that_was_killed_before_it_was_recorded_leaves_no_server"),
    ),
    *of(
        "stalled or stale process",
        recovered("worker alive but stalled", "SIGSTOP", "jobs/test_runs_with_workers.py::test_a_worker_that_is_alive_but_stalled_is_ended_and_started_again"),
        refused("worker of an older attempt comes back", "started again with its old epoch", "jobs/test_runs_with_workers.py::test_a_worker_of_an_older_attempt_refuses_to_work"),
        refused("result of an older attempt", "written over the present one's", "jobs/test_runs_with_workers.py::test_the_result_of_an_older_attempt_is_not_taken"),
        recovered("pid of a server is somebody else's now", "the record names a bystander", "generate/test_servers.py::test_a_recycled_pid_is_never_signalled"),
        recovered("daemon file names another process", "the record names the test, then is torn", "server/test_daemon.py::test_a_file_that_names_another_process_is_not_taken_for_the_daemon"),
    ),
    *of(
        "signals",
        recovered("worker told to end by somebody else", "SIGTERM to a training", "jobs/test_runs_with_workers.py::test_a_worker_that_somebody_else_stops_is_not_taken_for_cancelled"),
        recovered("daemon told to end", "SIGTERM with a run at work", "server/test_daemon.py::test_sigterm_stops_the_daemon_cleanly_and_its_run_goes_on_under_the_next"),
        recovered("terminal interrupts a watched run", "SIGINT", "server/test_cli.py::test_ctrl_c_stops_watching_and_never_the_run"),
        recovered("terminal of the starter goes away", "nothing: a process is shown to be out of its reach", "jobs/test_processes.py::test_it_has_no_input_its_own_session_and_none_of_our_files"),
    ),
    # ---- the machine
    *of(
        "power cut",
        recovered("power cut at any write of the journal", "every disk image that a cut can leave", "store/test_power_cuts.py::test_every_disk_that_a_cut_can_leave_of_the_journal_keeps_what_was_acknowledged"),
        recovered("power cut at any write of the store", "disk images that a cut can leave", "store/test_power_cuts.py::test_disks_that_a_cut_can_leave_of_the_whole_store_keep_what_was_acknowledged"),
        recovered("power cut at any write of an escalation", "cut at each of its five files", "escalate/test_escalating.py::test_a_start_that_loses_power_at_any_write_of_the_folder_leaves_it_to_the_next"),
    ),
    *of(
        "failing system call",
        refused("error on the journal", "EIO and ENOSPC from write, sync and truncate", "store/test_io_errors.py::test_an_error_on_the_journal_is_refused_cleanly_or_stops_the_store"),
        recovered("error on any file of the store", "EIO and ENOSPC at the n-th call", "store/test_io_errors.py::test_an_error_on_any_file_of_the_store_loses_nothing"),
        refused("sync that failed", "EIO from fsync", "store/test_io_errors.py::test_a_sync_that_failed_is_never_tried_again"),
    ),
    *of("odd file system", refused("store on a network file system", "a mount table that says nfs, cifs, sshfs", "store/test_commands.py::test_a_network_file_system_is_refused_with_its_kind")),
    *of(
        "disk full",
        refused("disk too small for a run", "a machine that reports 1 GiB free", "iterate/test_iterate_run.py::test_a_run_that_the_disk_cannot_hold_is_refused_before_it_begins"),
        recovered("disk full while a worker writes", "a tmpfs of 32 MiB", "faults/test_full_disk.py::test_a_run_stopped_by_a_full_disk_goes_on_when_there_is_room"),
        escalated("disk full again and again", "ENOSPC in each attempt", "jobs/test_runs_with_workers.py::test_a_run_that_the_disk_stops_again_and_again_asks_for_more_room_each_time_and_then_fails"),
        recovered("files of the store may not grow", "RLIMIT_FSIZE", "store/test_io_errors.py::test_files_that_may_not_grow_lose_nothing"),
        refused("disk full while an evidence bundle is made", "each write in turn fails", "promote/evidence/test_bundle.py::test_a_bundle_is_there_whole_or_not_at_all"),
        recovered("disk full while a failure is escalated", "ENOSPC as its evidence is stored", "escalate/test_escalating.py::test_what_cannot_be_looked_into_now_is_tried_again_and_the_rest_does_not_wait"),
    ),
    *of(
        "out of memory",
        recovered("training out of memory", "RLIMIT_AS below what a micro batch takes", "iterate/test_memory_run.py::test_a_training_out_of_memory_goes_on_with_smaller_micro_batches_and_the_same_batch"),
        escalated("training out of memory however small", "RLIMIT_AS below every rung", "iterate/test_memory_run.py::test_the_last_resort_is_a_smaller_adapter_and_where_that_is_too_large_the_run_fails_for_memory"),
        escalated("worker taken by the kernel for memory", "SIGKILL while the kernel's count rises (the count is a stand-in)", "jobs/test_runs_with_workers.py::test_a_worker_that_the_kernel_takes_for_memory_ends_as_out_of_memory[evaluate-5]"),
    ),
    # ---- training
    *of(
        "diverging training",
        recovered("loss that is no number", "a worker that raises above a learning rate", "iterate/test_scheduling.py::test_a_training_that_diverges_is_tried_again_at_half_the_rate"),
        by_runbook("training-failed", "loss that is no number at half the rate too", "the same below the halved rate", "test_a_training_that_diverged_is_begun_lower"),
    ),
    *of(
        "repeating failure",
        escalated("the same failure run after run", "a worker that fails alike", "iterate/test_repeating.py::test_the_third_run_that_ends_alike_says_that_starting_again_does_not_help"),
        by_runbook("failure-patterns", "answers that confuse labels", "a base that is right too seldom", "test_failures_that_training_mends_get_a_round_of_their_own"),
    ),
    # ---- bytes
    *of(
        "changed weights",
        recovered("changed base", "a flipped bit on the disk", "faults/test_altered_weights.py::test_a_changed_base_is_prepared_anew"),
        recovered("changed version", "a flipped bit on the disk", "faults/test_altered_weights.py::test_a_changed_adapter_is_trained_anew_to_the_same_bytes_and_the_run_goes_on"),
        escalated("changed version that cannot be made again", "a flipped bit, and its rows are gone", "faults/test_altered_weights.py::test_a_changed_adapter_that_cannot_be_trained_anew_ends_the_run_and_marks_the_version"),
        refused("version changed before it is loaded", "a byte changed on the disk", "generate/test_servers.py::test_a_version_whose_bytes_have_changed_on_disk_is_never_loaded"),
        refused("version changed before it comes to serve", "a byte changed on the disk", "serve/test_rollback.py::test_a_target_whose_files_were_changed_is_refused"),
        refused("wrong weights answer", "a stand-in that loads others", "generate/test_servers.py::test_wrong_weights_are_never_answered_from"),
        recovered("weights exchanged behind our back", "another adapter loaded into the server", "generate/test_servers.py::test_weights_exchanged_behind_our_back_are_noticed_by_the_proof"),
        refused("wrong weights answer where one is to serve", "a stand-in that loads others", "serve/test_rollback.py::test_a_target_that_answers_with_other_weights_is_refused_and_what_serves_goes_on"),
        by_runbook("wrong-weights", "version changed under a measurement", "bytes exchanged in the artefact store", "test_a_version_whose_bytes_changed_is_not_used_until_sound_ones_are_back"),
    ),
    *of("damaged checkpoint", recovered("torn checkpoint", "a file cut, flipped, lost, or exchanged for a pickle", "train/test_checkpoints.py::test_a_torn_checkpoint_is_removed_and_the_one_before_is_used")),
    *of(
        "damaged store",
        recovered("damaged database", "bytes flipped, zeroed, cut, deleted", "store/test_damage.py::test_no_damage_to_the_database_loses_a_command"),
        recovered("kills and damage at random", "a random killer over the store's owner", "store/test_crashes.py::test_random_kills_and_damage_lose_no_acknowledged_command"),
        refused("journal lost beside its database", "deleted", "store/test_damage.py::test_a_lost_journal_is_refused_by_every_start_and_by_a_rebuild"),
    ),
    *of(
        "damaged journal",
        refused("journal damaged in the middle", "a line changed", "store/test_damage.py::test_a_journal_damaged_inside_is_refused_and_nothing_is_set_aside"),
        by_runbook("store-damaged", "journal damaged under a stopped daemon", "a flipped byte", "test_a_journal_that_is_broken_inside_is_put_back_by_a_person_and_the_database_made_again"),
    ),
    *of(
        "altered package",
        refused("changed byte in a package", "a flipped byte in each file", "promote/package/test_package.py::test_a_flipped_byte_in_any_file_is_refused"),
        refused("changed byte in an evidence bundle", "a flipped byte in each file", "promote/evidence/test_bundle.py::test_a_flipped_byte_anywhere_in_any_file_is_refused_by_both_verifiers"),
        refused("package whose answers are others", "answers exchanged before the export", "promote/package/test_export_run.py::test_answers_that_are_not_those_that_were_evaluated_make_no_package_and_keep_the_gate_closed"),
        by_runbook("evidence-refused", "signing key that others can read", "its mode changed", "test_a_signing_key_that_others_can_read_signs_nothing_until_a_person_has_seen_to_it"),
    ),
    *of(
        "pickles and archives",
        refused("pickle, zip bomb, terabyte or link in a package", "each of them, real", "promote/package/test_package.py::test_a_package_that_is_not_whole_or_not_plain_files_is_refused"),
        refused("pickle, code or zip bomb in a checkpoint", "each beside the weights, then in their place", "generate/test_weights.py::test_of_a_checkpoint_neither_pickles_nor_code_nor_archives_are_taken_over"),
        refused("checkpoint of pickles alone", "weights that run code when loaded", "generate/test_weights.py::test_pickled_weights_are_refused"),
        refused("pipes, links and folders in a bundle", "each of them", "promote/evidence/test_bundle.py::test_a_bundle_that_is_not_whole_or_not_plain_files_is_refused"),
    ),
    *of(
        "oversized input",
        refused("scenario of a megabyte", "a row of that length", "evaluate/test_compile.py::test_a_scenario_of_a_megabyte_is_refused_with_its_place"),
        refused("request of many megabytes", "a body over the limit, declared or not", "server/test_http.py::test_a_body_over_the_limit_is_refused_declared_or_not"),
        refused("reply that never ends, or unpacks to 128 MiB", "an endpoint that sends it", "generate/test_endpoint.py::test_a_reply_without_an_end_is_not_read_to_its_end"),
        refused("result of a worker that cannot be kept", "256 KiB and more, links, paths outside", "jobs/test_runs_with_workers.py::test_a_result_that_cannot_be_accepted_fails_the_run"),
    ),
    *of(
        "path traversal",
        refused("names that leave the workspace", "traversal and links in names and row files", "config/test_loading.py::test_a_domain_name_or_row_file_that_leaves_the_workspace_is_refused"),
        refused("links, devices and pipes as artefacts", "each of them", "store/test_artifacts.py::test_links_devices_and_pipes_are_refused"),
    ),
    # ---- what others write
    *of(
        "malformed configuration",
        refused("clusters.json that is not strict JSON", "NaN, 1e999, keys twice, NUL, surrogates, nesting, megabytes", "config/test_loading.py::test_a_clusters_json_that_is_not_strict_json_is_refused"),
        refused("domain.yaml that is not plain YAML", "aliases that unfold, tags, nesting, keys twice", "config/test_loading.py::test_a_domain_yaml_that_is_not_plain_yaml_is_refused_before_it_costs_anything"),
        refused("any value anywhere in clusters.json", "values drawn at random", "config/test_loading.py::test_no_value_anywhere_in_clusters_json_does_worse_than_a_clear_refusal"),
        by_runbook("refused-configuration", "template that does not parse", "a brace too few", "test_a_broken_template_is_mended_by_hand_and_then_every_row_is_read"),
    ),
    *of(
        "bad rows",
        refused("row that is not strict JSON or does not fit", "NaN, 1e999, keys twice, NUL, surrogates, nesting", "evaluate/test_compile.py::test_a_bad_row_is_named_by_file_and_line"),
        refused("rows of somebody else's file", "the same in JSON lines and arrays", "config/test_scaffold.py::test_rows_that_cannot_be_used_are_refused_and_nothing_is_written"),
        refused("number that is none in what is asked", "NaN and infinity as arguments", "faults/test_hostile_text.py::test_a_number_that_is_none_in_what_is_asked_is_refused_and_nothing_is_kept_of_it"),
        refused("figure that is no number", "NaN and infinity as a measurement", "evaluate/test_statistics.py::test_a_number_that_is_none_is_refused"),
        by_runbook("leakage", "training row that is an evaluation item", "copied into the training rows", "test_leaked_rows_are_taken_out_of_the_training_rows"),
        by_runbook("person-reads", "one input with two answers", "rows repeated with another label", "test_contradictory_labels_go_to_a_person_and_are_measured_anew"),
    ),
    *of(
        "hostile text",
        recovered("rows that give orders, close fences, move the cursor, bring scripts", "six texts in every row and tag", "faults/test_hostile_text.py::test_whoever_reads_failed_scenarios_gets_their_texts_as_data_and_nothing_follows_from_them"),
        recovered("the same in an escalation", "as the words of a failure", "faults/test_hostile_text.py::test_an_escalation_of_hostile_words_says_them_inside_fences_alone"),
        recovered("control tokens of a chat template in a row", "each, whole and put together from fields", "evaluate/test_prompts.py::test_a_row_cannot_place_a_control_token"),
        recovered("hostile names on an evidence page", "scripts as names", "promote/evidence/test_evidence_page.py::test_names_that_were_never_redacted_are_shown_as_text_too"),
        recovered("answers with NUL, surrogates and a million characters", "a reply of them", "generate/test_endpoint.py::test_hostile_text_is_made_storable"),
    ),
    # ---- model servers
    *of(
        "port taken",
        recovered("stranger on the port", "another server where ours was to be, one that never ends its reply", "generate/test_servers.py::test_a_stranger_on_the_port_is_not_taken_for_our_server"),
        recovered("server that lists other models", "a stand-in that does", "generate/test_servers.py::test_a_server_that_lists_other_models_is_replaced"),
    ),
    *of(
        "sick model server",
        recovered("server hangs", "a stand-in that accepts and is silent", "generate/test_servers.py::test_a_server_that_hangs_is_replaced"),
        recovered("server answers slowly", "a stand-in that waits", "generate/test_servers.py::test_a_slow_answer_is_asked_for_again_without_a_restart"),
        recovered("server cuts, babbles, errs and dies under a measurement", "half a reply, no JSON, 500, exit", "faults/test_sick_servers.py::test_a_server_that_cuts_babbles_errs_and_dies_under_a_measurement_changes_no_figure_of_it"),
        escalated("server never starts", "a stand-in that exits", "faults/test_sick_servers.py::test_a_server_that_never_starts_gives_no_figure_and_is_escalated_as_infrastructure"),
        recovered("answers lost to infrastructure", "a generator that loses them once", "evaluate/test_workers.py::test_an_answer_lost_once_is_asked_for_again"),
        by_runbook("server-failed", "endpoint that is down", "nothing at its address", "test_an_endpoint_that_was_down_is_asked_again_when_it_is_up"),
    ),
    # ---- clocks, callers, repetition
    *of("clock", recovered("wall clock set by days, forward and back", "a clock shim under the engine", "faults/test_clock.py::test_an_iterate_run_outlives_a_clock_that_is_set_forward_and_back")),
    *of(
        "repeated request",
        recovered("submitted twice", "one key, twice", "jobs/test_runs_without_workers.py::test_the_same_key_gives_the_same_run_even_when_its_job_would_now_be_another"),
        recovered("asked again after a lost answer", "the daemon killed between, one key", "server/test_daemon.py::test_a_killed_daemon_is_replaced_at_the_next_call_which_knows_the_run_and_finishes_it"),
        refused("key that comes back with other arguments", "one key, two requests", "store/test_commands.py::test_a_key_that_comes_back_with_other_arguments_is_refused"),
    ),
    *of(
        "races",
        refused("submissions that race", "threads at a barrier", "jobs/test_runs_without_workers.py::test_of_racing_submissions_one_wins"),
        refused("promotions that race", "threads at a barrier", "promote/test_records.py::test_of_agents_that_promote_one_version_at_once_one_wins_and_the_others_are_told"),
        refused("an approval and a rollback at once", "threads at a barrier", "promote/test_records.py::test_of_a_rollback_and_a_last_signature_at_once_one_wins"),
        recovered("daemons that start together", "four at once", "server/test_daemon.py::test_of_daemons_that_start_together_one_serves_and_the_others_leave_quietly"),
        refused("second owner of the store", "opened in another process", "store/test_commands.py::test_a_second_owner_is_refused_in_this_process_and_in_another"),
    ),
    *of(
        "version skew",
        recovered("daemon of other code", "another version in its record", "server/test_daemon.py::test_a_daemon_of_other_code_makes_way_when_idle_and_stays_while_a_run_goes_on"),
        refused("store of a newer version", "a migration that is not known", "store/test_commands.py::test_a_store_of_a_newer_version_is_refused_and_left_alone"),
    ),
    *of(
        "request that cannot be",
        by_runbook("refused-request", "name that is not there", "a cluster misspelt", "test_a_refused_request_is_sent_again_with_a_name_that_is_there"),
        by_runbook("state-changed", "run that is in the way", "asked for while another goes on", "test_a_run_that_is_in_the_way_is_waited_for"),
        by_runbook("approval-needed", "signature that does not count", "by somebody who is not an approver", "test_people_sign_what_an_agent_asks_for"),
    ),
)
