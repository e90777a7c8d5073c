"""The manifest: what the product promises, and the tests that hold it to that.

`tests/house/test_requirements.py` checks both ways: every test named here exists, every promise has at least one, and every test file stands
behind some promise. A promise is worded as its user would; a test is named `tests/<part>/test_<file>.py::<function>`, or a whole file where
all of it is about the promise.
"""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    """One thing that a user may rely on."""

    id: str
    text: str
    tests: tuple[str, ...]


def promise(id: str, text: str, *tests: str) -> Promise:
    return Promise(id, text, tuple(f"tests/{test}" for test in tests))


PROMISES: tuple[Promise, ...] = (
    # ---- from a fresh clone -----------------------------------------------------------------------------------------------------
    promise(
        "setup.stack",
        "Set-up installs the CUDA builds where nvidia-smi answers and the CPU builds otherwise.",
        "house/test_bootstrap.py::test_without_a_gpu_the_cpu_stack_is_installed_and_misfits_are_removed",
        "house/test_bootstrap.py::test_the_cuda_stack_is_installed_where_the_driver_answers",
        "fleet/test_probe.py::test_a_machine_whose_driver_does_not_answer_has_no_gpu",
    ),
    promise(
        "setup.idempotent",
        "Set-up that is interrupted and started again ends right; a second one costs nothing.",
        "house/test_bootstrap.py::test_a_set_up_that_is_killed_anywhere_starts_over_and_ends_right",
        "house/test_bootstrap.py::test_a_set_up_that_pip_refused_says_so_and_goes_on_from_there",
        "house/test_bootstrap.py::test_a_second_set_up_runs_nothing",
    ),
    # ---- 1. configuration -------------------------------------------------------------------------------------------------------
    promise(
        "config.errors",
        "A mistake in clusters.json or domain.yaml is named with the file, the path inside it, the value and what was expected.",
        "config/test_loading.py::test_a_mistake_in_clusters_json_is_named_by_path_value_and_expectation",
        "config/test_loading.py::test_a_mistake_in_domain_yaml_is_named_by_path_value_and_expectation",
        "config/test_loading.py::test_several_mistakes_are_all_counted_and_the_first_few_listed",
    ),
    promise(
        "config.hostile",
        "A hostile configuration file is refused before it costs anything, and never brings a surface down.",
        "config/test_loading.py::test_a_clusters_json_that_is_not_strict_json_is_refused",
        "config/test_loading.py::test_a_domain_yaml_that_is_not_plain_yaml_is_refused_before_it_costs_anything",
        "config/test_loading.py::test_no_value_anywhere_in_clusters_json_does_worse_than_a_clear_refusal",
        "config/test_loading.py::test_no_value_anywhere_in_domain_yaml_does_worse_than_a_clear_refusal",
        "config/test_loading.py::test_the_value_under_an_unknown_key_is_not_repeated",
    ),
    promise(
        "config.schemas",
        "The JSON schemas in docs/ are generated from the records that validate.",
        "config/test_loading.py::test_the_records_and_their_generated_schemas_agree_on_the_repository_files",
        "house/test_docs.py::test_the_committed_schemas_are_those_of_the_records",
    ),
    promise(
        "config.domains",
        "Two domains ship as configuration and data alone, with provenance, licence and notice.",
        "config/test_loading.py::test_the_repository_itself_is_a_valid_workspace",
        "house/test_repository.py::test_a_shipped_domain_says_where_its_rows_come_from_and_they_are_those_rows",
    ),
    promise(
        "config.profiles",
        "The GPU-class profiles (8B bf16 LoRA, 32B on a 4-bit base) give the right vLLM command line and training plan, without a GPU.",
        "generate/test_vllm_command.py::test_an_8b_model_with_adapters_on_a_gpu",
        "generate/test_vllm_command.py::test_a_32b_model_in_four_bits_over_two_gpus",
        "train/test_plan.py::test_the_plan_of_an_8b_with_bf16_lora",
        "train/test_plan.py::test_the_plan_of_a_32b_on_a_4_bit_base",
    ),
    promise(
        "config.scaffold",
        "`domain new` makes a working domain from labelled rows nobody has described, and never overwrites one.",
        "config/test_scaffold.py",
    ),
    # ---- 2. store, runs, daemon -------------------------------------------------------------------------------------------------
    promise(
        "store.durable",
        "Nothing that was acknowledged is lost: kills, file damage, power cuts and I/O errors; rebuilt equals live.",
        "store/test_crashes.py::test_random_kills_and_damage_lose_no_acknowledged_command",
        "store/test_crashes.py::test_a_command_cut_short_is_applied_once_when_asked_again",
        "store/test_damage.py::test_no_damage_to_the_database_loses_a_command",
        "store/test_power_cuts.py::test_disks_that_a_cut_can_leave_of_the_whole_store_keep_what_was_acknowledged",
        "store/test_io_errors.py::test_an_error_on_any_file_of_the_store_loses_nothing",
        "store/test_io_errors.py::test_files_that_may_not_grow_lose_nothing",
        "jobs/test_runs_without_workers.py::test_the_rebuilt_store_says_the_same_of_runs",
    ),
    promise(
        "store.journal",
        "Every accepted command is chained and synced before DuckDB commits; a broken chain is found.",
        "store/test_journal.py::test_every_command_comes_back_as_it_was",
        "store/test_journal.py::test_a_changed_byte_before_the_last_line_is_refused_with_its_number",
        "store/test_journal.py::test_a_missing_a_swapped_and_a_foreign_line_are_refused",
        "store/test_power_cuts.py::test_every_disk_that_a_cut_can_leave_of_the_journal_keeps_what_was_acknowledged",
        "store/test_io_errors.py::test_an_error_on_the_journal_is_refused_cleanly_or_stops_the_store",
    ),
    promise(
        "store.once",
        "Telemetry and results are ingested exactly once, however often they are delivered.",
        "store/test_commands.py::test_spools_are_taken_in_exactly_once_and_again_into_a_rebuilt_database",
        "store/test_commands.py::test_a_key_that_comes_back_with_other_arguments_is_refused",
        "jobs/test_runs_with_workers.py::test_a_result_that_was_written_while_no_daemon_ran_is_taken_in_once",
    ),
    promise(
        "store.owner",
        "One process owns the store.",
        "store/test_commands.py::test_a_second_owner_is_refused_in_this_process_and_in_another",
        "store/test_commands.py::test_a_network_file_system_is_refused_with_its_kind",
        "store/test_crashes.py::test_of_owners_that_start_together_one_serves",
    ),
    promise(
        "store.migrations",
        "A migration and its record commit together.",
        "store/test_commands.py::test_a_failed_migration_leaves_the_store_as_it_was",
        "store/test_commands.py::test_a_store_of_a_newer_version_is_refused_and_left_alone",
    ),
    promise(
        "store.artifacts",
        "Artefacts are named by hash, and damage is noticed.",
        "store/test_artifacts.py::test_a_directory_is_stored_under_its_tree_hash_once",
        "store/test_artifacts.py::test_a_changed_a_missing_and_an_extra_file_are_named",
        "store/test_artifacts.py::test_a_flipped_bit_in_a_file_is_found",
        "jobs/test_runs_with_workers.py::test_artefacts_are_stored_by_hash_and_traced_to_the_run",
    ),
    promise(
        "store.lineage",
        "What was made from what can be followed back.",
        "store/test_commands.py::test_events_and_lineage_are_written_with_the_command",
        "jobs/test_runs_with_workers.py::test_artefacts_are_stored_by_hash_and_traced_to_the_run",
    ),
    promise(
        "runs.states",
        "A run moves only along the drawn transitions, and a worker that lost its claim is refused.",
        "jobs/test_runs_without_workers.py::test_no_order_of_commands_leaves_the_table_of_transitions",
        "jobs/test_runs_without_workers.py::test_only_the_next_epoch_may_claim_and_only_the_present_one_may_finish",
        "jobs/test_runs_with_workers.py::test_the_result_of_an_older_attempt_is_not_taken",
        "jobs/test_runs_with_workers.py::test_a_worker_of_an_older_attempt_refuses_to_work",
    ),
    promise(
        "runs.adopt",
        "A daemon that starts again adopts live workers and resumes a killed iterate at its first incomplete step.",
        "jobs/test_runs_with_workers.py::test_a_live_worker_is_adopted_by_the_next_daemon",
        "jobs/test_runs_with_workers.py::test_a_killed_worker_is_started_again_and_goes_on_from_its_files",
        "jobs/test_runs_with_workers.py::test_a_result_that_was_written_while_no_daemon_ran_is_taken_in_once",
        "jobs/test_runs_without_workers.py::test_a_driver_takes_a_run_through_its_steps_across_a_restart",
    ),
    promise(
        "runs.one",
        "One active run a cluster; the same request under the same idempotency key is the same run.",
        "jobs/test_runs_without_workers.py::test_a_cluster_has_one_active_top_level_run",
        "jobs/test_runs_without_workers.py::test_the_same_key_gives_the_same_run_even_when_its_job_would_now_be_another",
        "jobs/test_runs_without_workers.py::test_of_racing_submissions_one_wins",
    ),
    promise(
        "runs.cancel",
        "Cancel ends cleanly within seconds and leaves no process.",
        "jobs/test_runs_with_workers.py::test_cancelling_ends_the_worker_and_its_children_within_seconds",
        "jobs/test_runs_with_workers.py::test_children_that_a_dead_worker_left_are_ended",
        "jobs/test_processes.py::test_ending_a_group_ends_its_children_and_spares_other_sessions",
        "jobs/test_processes.py::test_a_recycled_pid_is_neither_alive_nor_signalled",
        "jobs/test_runs_without_workers.py::test_cancelling_a_driven_run_ends_its_steps_first",
    ),
    # ---- 3. generate ------------------------------------------------------------------------------------------------------------
    promise(
        "generate.servers",
        "Model servers are found or started, replaced when they die or hang, and stopped when idle or in the way of training.",
        "generate/test_servers.py",
    ),
    promise(
        "generate.proved",
        "Each change of weights is proved by a fingerprint; answers never come from weights that were not asked for.",
        "generate/test_servers.py::test_wrong_weights_are_never_answered_from",
        "generate/test_servers.py::test_weights_exchanged_behind_our_back_are_noticed_by_the_proof",
        "generate/test_weights.py",
    ),
    promise(
        "generate.infrastructure",
        "An infrastructure failure never becomes a score.",
        "generate/test_endpoint.py::test_what_stays_broken_becomes_an_error_and_never_a_text",
        "evaluate/test_checks.py::test_an_infrastructure_error_is_no_score",
        "diagnose/test_patterns.py::test_an_infrastructure_error_is_neither_graded_nor_failed",
        "iterate/test_decide.py::test_a_missing_answer_never_passes",
    ),
    promise(
        "generate.base",
        "The embedded base model is prepared once, cached by content hash, and a preparation that was interrupted ends right.",
        "generate/test_preparing.py",
    ),
    promise("generate.endpoint", "Any OpenAI-compatible endpoint can be measured; its key is shown nowhere.", "generate/test_endpoint.py"),
    promise(
        "generate.structured",
        "Structured output is a switch, and what it buys is measured and shown.",
        "generate/test_real_server.py::test_answers_under_a_schema_are_compact_json",
    ),
    promise(
        "generate.cache",
        "Answers are cached by the content of what made them; regrading does not generate.",
        "generate/test_cache.py",
        "evaluate/test_workers.py::test_measuring_again_generates_nothing_and_gives_the_same_figures",
    ),
    # ---- 4. evaluate ------------------------------------------------------------------------------------------------------------
    promise(
        "evaluate.checks", "Every kind of check gives partial credit, and a safety net overrides the score.",
        "evaluate/test_checks.py", "evaluate/test_prompts.py",
    ),
    promise(
        "evaluate.splits",
        "Splits are stratified and deterministic, and near-duplicates and sources stay on one side.",
        "evaluate/test_splits.py",
        "evaluate/test_similarity.py",
        "evaluate/test_compile.py::test_near_duplicates_and_sources_stay_in_one_split",
        "evaluate/test_compile.py::test_the_order_of_rows_changes_neither_suite_nor_splits",
    ),
    promise(
        "evaluate.rows",
        "A scenario of 1 MB, duplicate ids, a missing file, a path that leaves: each is refused with its place.",
        "evaluate/test_compile.py::test_a_scenario_of_a_megabyte_is_refused_with_its_place",
        "evaluate/test_compile.py::test_two_rows_with_one_id_are_refused_with_both_lines",
        "evaluate/test_compile.py::test_a_path_that_leaves_the_folder_is_refused",
        "evaluate/test_compile.py::test_a_file_that_is_not_there_is_named",
        "config/test_loading.py::test_a_domain_name_or_row_file_that_leaves_the_workspace_is_refused",
    ),
    promise(
        "evaluate.statistics",
        "Every score carries n and an interval; comparisons are paired and refuse mismatched identities.",
        "evaluate/test_statistics.py",
    ),
    promise(
        "evaluate.floor",
        "Each domain has a floor from well-kept classical methods, measured on the same scenarios.",
        "evaluate/test_floors.py",
        "evaluate/test_workers.py::test_the_floor_is_the_best_method_on_core_and_all_are_reported",
        "evaluate/test_workers.py::test_a_floor_and_a_model_are_measured_on_the_same_scenarios_and_rubric",
    ),
    promise("evaluate.records", "Measurements are rows that can be asked for again.", "evaluate/test_records.py"),
    promise("evaluate.report", "A measurement is JSON and a readable page, which shows no held-out item.", "evaluate/test_report.py"),
    # ---- 5. diagnose, curate, train, decide -------------------------------------------------------------------------------------
    promise("diagnose.patterns", "Failures are grouped into patterns by what the checks saw, each with share, examples and remedy.", "diagnose/test_patterns.py"),
    promise("curate.aim", "Training data is chosen for those patterns plus replay.", "curate/test_select.py", "curate/test_worker.py"),
    promise(
        "curate.doubt",
        "Training rows whose labels the other rows contradict are set aside and listed for a person, never changed.",
        "curate/test_doubt.py",
        "curate/test_worker.py::test_rows_whose_label_a_trained_model_finds_unlikely_are_set_aside_and_listed",
        "curate/test_worker.py::test_row_losses_that_are_not_the_ones_that_were_named_stop_the_run",
        "train/test_real_training.py::test_it_leaves_what_is_left_of_each_rows_loss",
        "iterate/test_iterate_run.py::test_rows_that_were_set_aside_are_listed_as_relabel_requests",
    ),
    promise("curate.leakage", "A training row that is, or nearly is, an evaluation item stops the run with the pair named.", "curate/test_leakage.py"),
    promise("train.plan", "Every training setting has a reason that can be read.", "train/test_plan.py"),
    promise("train.rows", "A training row is never cut: one that is too long is refused by name.", "train/test_rows.py"),
    promise(
        "train.resume",
        "Training resumes after SIGKILL with the same loss curve, and is deterministic for a seed.",
        "train/test_checkpoints.py",
        "train/test_order.py",
        "train/test_scripted_training.py",
        "train/test_real_training.py::test_a_training_killed_in_the_middle_ends_with_the_same_losses_and_the_same_adapter",
    ),
    promise(
        "train.cancel",
        "A training is cancelled within seconds and leaves no process.",
        "train/test_scripted_training.py::test_a_cancelled_training_stops_within_seconds",
        "train/test_real_training.py::test_a_cancelled_training_ends_within_ten_seconds_and_leaves_no_process",
    ),
    promise(
        "train.version",
        "A version is named by its content and keeps its lineage; its merged weights are the base with the adapter added.",
        "train/test_records.py",
        "train/test_real_training.py::test_merged_weights_are_the_base_with_the_adapter_added",
    ),
    promise("train.fast", "A training process runs with the allocator and thread settings that were measured to help.", "train/test_environment.py"),
    promise(
        "decide.accept",
        "A specialist is accepted only on a paired improvement whose interval excludes zero, with no slice or safety net worse and the floor beaten.",
        "iterate/test_decide.py",
    ),
    promise(
        "iterate.loop",
        "iterate repeats until targets, budget or stall, and everything lands in a ledger.",
        "iterate/test_iterate_run.py",
        "iterate/test_decide.py::test_the_loop_stops_at_targets_budget_or_stall",
    ),
    promise(
        "iterate.decision",
        "A challenger is accepted only on a paired improvement whose interval excludes zero, above its floor, with no slice or safety net worse.",
        "iterate/test_decide.py",
        "iterate/test_iterate_run.py::test_a_challenger_that_is_no_better_is_rolled_back",
    ),
    promise(
        "decide.values",
        "A verdict and its figures follow from the values alone: other names and another order of the items move no digit.",
        "iterate/test_decide.py::test_a_verdict_follows_from_the_values_alone_whatever_the_items_are_called_and_however_they_are_ordered",
    ),
    promise(
        "decide.campaign",
        "Attempts of a campaign share one error budget: equal challengers are promoted at most as often as stated, and the verdict says what it could detect.",
        "iterate/test_campaigns.py",
        "iterate/test_decide.py::test_each_further_attempt_on_the_same_items_has_to_show_more",
    ),
    promise(
        "decide.regressions",
        "Lost items are counted against the incumbent's own unsteadiness and never hidden by an average; slices are tested with Holm's correction.",
        "iterate/test_decide.py::test_items_that_passed_before_may_not_be_traded_for_others",
        "iterate/test_decide.py::test_regressions_that_the_incumbents_own_unsteadiness_explains_do_not_block",
        "iterate/test_decide.py::test_a_slice_whose_loss_chance_explains_is_named_and_does_not_block",
    ),
    # ---- learning that can be trusted: the schedule ----------------------------------------------------------------------------------
    promise(
        "schedule.ledger",
        "Method, learning rate, rank, epochs, data size, replay share and warm start follow from the cluster's ledger, each with its reason in words.",
        "train/test_schedule.py",
        "iterate/test_scheduling.py",
    ),
    promise(
        "schedule.search",
        "Where rules have nothing to say, a search is given every recorded round; equal ledgers and seeds give equal settings.",
        "train/test_search.py",
        "iterate/test_scheduling.py::test_a_round_that_rules_have_nothing_to_say_about_is_searched_and_says_so",
    ),
    promise(
        "schedule.warm",
        "A warm start goes on from the incumbent's adapter, resumes to the same bytes, and is refused where the adapter does not fit.",
        "train/test_warm_start.py",
        "iterate/test_scheduling.py::test_a_second_run_reads_the_ledger_of_the_first_and_goes_on_from_its_version",
    ),
    promise(
        "teachers.dialect",
        "A teacher may stand behind an OpenAI-compatible endpoint or one of Anthropic messages; both go through one seam.",
        "generate/test_anthropic.py",
    ),
    promise(
        "teachers.used",
        "A teacher is asked for training prompts alone, within its budget, judged against labels and floor; one below the floor is not used.",
        "curate/test_teach.py",
        "curate/test_teach_worker.py",
        "iterate/test_teachers_run.py",
    ),
    promise(
        "golden.kept",
        "Answers without a fault are kept, named by version; held-out items never.",
        "curate/test_golden.py",
        "iterate/test_teachers_run.py::test_the_first_teacher_that_is_not_below_the_floor_is_taught_and_the_run_says_what_each_is_worth",
    ),
    promise(
        "golden.used",
        "Golden answers are shown as examples, preferred in pairs, and missed when they are lost; the run says each.",
        "iterate/test_teachers_run.py::"
        "test_golden_answers_of_a_teacher_are_the_examples_of_the_trial_and_the_better_side_of_pairs_and_the_run_says_so",
        "iterate/test_teachers_run.py::test_core_items_that_were_golden_once_and_are_lost_are_named_in_the_runs_output",
        "diagnose/test_try_cheap.py::test_golden_answers_are_shown_before_rows_of_the_pool_and_the_trial_says_so",
        "curate/test_pairs.py::test_every_pair_sets_a_golden_answer_a_passing_one_or_the_reference_against_a_whole_one_that_failed",
    ),
    promise(
        "propose.drafts",
        "Scenarios are drafted from failures by transformation: valid, new, unlike each other, and clear of whatever is kept back.",
        "evaluate/test_proposal_drafts.py",
    ),
    promise(
        "propose.teacher",
        "A teacher that was found usable rewords training rows into drafts, within its budget; a draft stays only when its own answer is the label.",
        "curate/test_draft_worker.py",
        "iterate/test_proposals.py::"
        "test_a_teacher_found_usable_rewords_training_rows_and_an_accepted_rewording_takes_its_row_out_of_the_pool",
    ),
    promise(
        "propose.decided",
        "A proposed scenario joins core when a person accepts it (an agent only where the domain says so), the suite's change shows, and it survives a rebuild.",
        "iterate/test_proposals.py",
        "server/test_surfaces.py::test_an_agent_stages_scenarios_and_a_person_decides",
    ),
    promise(
        "curate.rehearse",
        "What the base could do may be rehearsed with rows of another domain, which pass the leakage guard of both.",
        "curate/test_worker.py::test_rows_of_another_domain_are_rehearsed_as_that_domain_renders_them",
        "curate/test_worker.py::test_a_rehearsed_row_that_is_an_evaluation_item_of_either_domain_stops_the_run",
    ),
    # ---- 6. tools and surfaces --------------------------------------------------------------------------------------------------
    promise(
        "tools.one",
        "An operation is defined once; MCP, REST and the command line are derived from it.",
        "server/test_mcp.py::test_every_tool_is_listed_in_order_with_schemas_and_what_it_may_do",
        "server/test_http.py::test_the_served_description_is_that_of_the_table",
        "server/test_cli.py::test_every_tool_is_a_command_with_help",
        "server/test_docs.py",
    ),
    promise(
        "tools.errors",
        "Bad input is a clear error with its code, alike on all three surfaces.",
        "server/test_surfaces.py",
    ),
    promise(
        "tools.tokens",
        "The tool list and every result stay small.",
        "server/test_tokens.py",
    ),
    promise(
        "tools.exit",
        "Exit codes say: 0 done and passed, 1 below target, 2 bad request, 3 infrastructure.",
        "server/test_cli.py",
    ),
    promise(
        "tools.guard",
        "Only this machine, with the token, is answered.",
        "server/test_http.py",
    ),
    promise(
        "tools.clients",
        "MCP clients not written here work: the Inspector's command line and the conformance suite.",
        "server/test_foreign_clients.py",
        "server/test_mcp.py",
    ),
    promise(
        "tools.daemon",
        "Any surface that finds no daemon starts one; one is elected, a killed one is replaced, an idle one goes away.",
        "server/test_daemon.py",
    ),
    # ---- faults: what recovers by itself -----------------------------------------------------------------------------------------
    promise(
        "heal.memory",
        "A training that runs out of memory goes on with smaller micro batches, then gradient checkpointing, then a smaller adapter; each step is recorded.",
        "train/test_memory.py",
        "iterate/test_memory_run.py",
        "jobs/test_runs_with_workers.py::test_a_worker_that_the_kernel_takes_for_memory_ends_as_out_of_memory",
    ),
    promise(
        "heal.stalled",
        "A worker that lives but neither tells progress nor uses the processor is ended and started again; one that is slow, or slept with its machine, is not.",
        "jobs/test_stalls.py",
        "jobs/test_runs_with_workers.py::test_a_worker_that_is_alive_but_stalled_is_ended_and_started_again",
    ),
    promise(
        "heal.disk",
        "A run that the disk cannot hold is refused with what it needs; one that the disk fills up under stands, says so, and goes on when there is room.",
        "fleet/test_disk.py",
        "iterate/test_iterate_run.py::test_a_run_that_the_disk_cannot_hold_is_refused_before_it_begins",
        "faults/test_full_disk.py",
        "jobs/test_runs_with_workers.py::test_a_run_that_the_disk_stops_again_and_again_asks_for_more_room_each_time_and_then_fails",
        "iterate/test_iterate_run.py::test_an_iterate_run_on_a_full_disk_says_so_wherever_it_is_shown_and_goes_on",
    ),
    promise(
        "heal.altered",
        "Weights whose bytes have changed are never used: a base is prepared, merged weights are merged and an adapter is trained anew; what comes out otherwise marks the version.",
        "faults/test_altered_weights.py",
        "train/test_repair.py",
        "generate/test_servers.py::test_a_version_whose_bytes_have_changed_on_disk_is_never_loaded",
    ),
    promise(
        "heal.loops",
        "A remedy that has not helped against a failure is not applied to it for ever: over attempts and runs it ends, with an error of its own.",
        "iterate/test_repeating.py",
        "jobs/test_runs_with_workers.py::test_a_worker_that_always_dies_fails_the_run_and_names_the_end_of_its_log",
    ),
    promise(
        "heal.clock",
        "A clock that is set forward or back by days ends no run early or late, and changes the order of nothing.",
        "faults/test_clock.py",
    ),
    promise(
        "heal.watchdog",
        "What heals by itself is told over REST and the command line: each check's state, since when, the last action and its outcome, over restarts too.",
        "faults/test_watchdog.py",
        "iterate/test_iterate_run.py::test_an_iterate_run_on_a_full_disk_says_so_wherever_it_is_shown_and_goes_on",
    ),
    promise(
        "heal.matrix",
        "Every fault that is known is injected by a test and ends recovered, recovered by a runbook, completely escalated, or refused before it could do "
        "harm; every runbook has its fault, and docs/faults.md shows what was measured.",
        "faults/test_matrix.py",
    ),
    promise(
        "heal.autonomy",
        "How many runs of a simulated month needed a person is measured, with faults that are known and some that are not; docs/autonomy.md shows it.",
        "bench/test_autonomy.py",
    ),
    promise(
        "heal.sick_servers",
        "Whatever a model server does under a measurement is infrastructure's: the figures come out as they would have, or there are none and it is escalated.",
        "faults/test_sick_servers.py",
        "generate/test_servers.py::test_every_question_is_answered_once_whatever_the_server_does",
        "generate/test_servers.py::test_a_stranger_on_the_port_is_not_taken_for_our_server",
    ),
    promise(
        "hostile.text",
        "Texts of rows and failures that give orders, close fences, move the cursor or bring scripts are data wherever they are shown; nothing follows from them.",
        "faults/test_hostile_text.py",
    ),
    promise(
        "hostile.files",
        "A pickle, an archive, code, a link or a file of a terabyte in a package or a checkpoint is neither loaded nor unpacked nor read to its end.",
        "promote/package/test_package.py::test_a_package_that_is_not_whole_or_not_plain_files_is_refused",
        "generate/test_weights.py::test_of_a_checkpoint_neither_pickles_nor_code_nor_archives_are_taken_over",
        "generate/test_weights.py::test_pickled_weights_are_refused",
        "train/test_checkpoints.py::test_a_torn_checkpoint_is_removed_and_the_one_before_is_used",
        "generate/test_endpoint.py::test_a_reply_without_an_end_is_not_read_to_its_end",
    ),
    # ---- 7. the ground ----------------------------------------------------------------------------------------------------------
    promise("house.imports", "Imports go one way, and starting a surface loads nothing heavy.", "house/test_imports.py", "house/test_light_imports.py"),
    promise("house.errors", "Every error is in one tree, drawn as it is.", "house/test_errors.py"),
    promise("house.repository", "The repository names nothing of the machine it was written on.", "house/test_repository.py"),
    promise("house.requirements", "This manifest and the tests agree, both ways.", "house/test_requirements.py"),
    # ---- diagnosis and remedies -------------------------------------------------------------------------------------------------
    promise(
        "diagnosis.classes",
        "Every failure has a class from one taxonomy, by rule, with a trend over rounds and a confidence.",
        "diagnose/test_taxonomy.py",
        "diagnose/test_patterns.py",
    ),
    promise(
        "diagnosis.facts",
        "Unstable items, doubtful labels, inputs with two answers and what survives targeted rounds are told apart from what training can mend.",
        "diagnose/test_facts.py",
    ),
    promise(
        "diagnosis.remedies",
        "The class decides the remedy, the cheapest that is left first; a gain has a number only where this cluster's past has one.",
        "diagnose/test_remedies.py",
    ),
    promise(
        "diagnosis.cheap",
        "Examples in the prompt and the schema switch are measured on core before the first training, and the ledger shows what each bought.",
        "diagnose/test_try_cheap.py",
        "iterate/test_iterate_run.py::test_diagnosis_and_comparison_read_what_the_run_measured_and_tried",
    ),
    # ---- what it must show ------------------------------------------------------------------------------------------------------
    promise(
        "show.faults",
        "Worker, model server and daemon killed at each step of an iterate: the run ends with the same result, and no process is left.",
        "faults/test_kills.py",
    ),
    promise(
        "show.demo",
        "The demo's path works end to end with a real model: base, floor, training, proof, paired decision.",
        "promote/test_end_to_end.py",
    ),
    promise("show.overhead", "What an iterate run spends beyond generating and training is measured, and all generating counts.", "bench/test_iterate.py"),
    # ---- learning that can be trusted: held-out integrity -----------------------------------------------------------------------
    promise(
        "held_out.budget",
        "Each look at held-out is a row; a budget says how many the set bears, and a challenger's figures are said only above the ladder's step.",
        "evaluate/test_holdout.py",
        "iterate/test_held_out.py::test_a_challenger_below_the_ladders_step_is_told_in_words_alone",
    ),
    promise(
        "held_out.rotation",
        "A spent held-out set is rotated from the reserve by the next run, for good, with an anchor that connects the scores.",
        "evaluate/test_holdout.py",
        "iterate/test_held_out.py",
    ),
    promise("held_out.unseen", "No surface, log or event returns a held-out item.", "iterate/test_held_out.py::test_no_surface_returns_a_held_out_item"),
    promise(
        "held_out.early_stop",
        "A challenger's measurement ends when its refusal is certain, by a bound that holds at any time; it says how many items it saved, is compared "
        "with nothing, and can be completed.",
        "evaluate/test_early_stop.py",
        "iterate/test_early_stop_run.py",
        "iterate/test_campaigns.py::test_stopping_early_saves_items_of_what_is_no_better_and_stops_nothing_that_the_whole_gate_would_accept",
        "evaluate/test_workers.py::test_a_challengers_measurement_that_was_killed_stops_at_the_same_item_with_the_answers_it_has",
        "evaluate/test_holdout.py::test_a_look_that_stopped_early_is_never_said_raises_nothing_and_leaves_the_whole_measurement_to_be_said_by_itself",
    ),
    promise(
        "held_out.canaries",
        "A version that was taught the evaluation file anywhere shows it by the wrong answers planted there: it is refused and compared with nothing.",
        "evaluate/test_canaries.py",
        "evaluate/test_cheats.py::test_a_model_that_was_taught_the_evaluation_file_elsewhere_gives_the_answers_that_are_planted_there",
        "iterate/test_canaries_run.py",
        "iterate/test_decide.py::test_a_version_that_gives_planted_wrong_answers_is_refused_and_one_that_was_not_asked_all_is_not_cleared",
    ),
    promise("held_out.cheats", "Known ways to cheat are each met by a refusal that names them.", "evaluate/test_cheats.py"),
    # ---- issue 3, point 3: rewards and pairs ------------------------------------------------------------------------------------
    promise(
        "learn.preflight",
        "A pre-flight samples answers, reports solvable share and variance, drops hopeless and solved prompts, and says SFT first when that is true.",
        "train/test_preflight.py",
    ),
    promise(
        "learn.watchdog",
        "A watchdog stops reward hacking and collapse with a clear finding, and what was sound before is kept.",
        "train/test_watchdog.py",
        "train/test_preference_training.py::test_a_finding_stops_the_training_and_the_best_sound_checkpoint_is_the_result",
    ),
    promise("learn.reward", "GRPO's reward is the domain's rubric as evaluation grades it.", "train/test_reward.py"),
    promise("learn.plan", "GRPO and DPO are planned with every setting and reason, bounded by the time that a CPU allows.", "train/test_preference_plan.py"),
    promise(
        "learn.trainers",
        "GRPO and DPO learn, are deterministic, go on from an adapter, and resume after SIGKILL with the same result.",
        "train/test_preference_training.py",
    ),
    promise(
        "learn.pairs",
        "DPO trains on pairs that the loop itself has: passing against failed answers to training prompts, which enter no table of measurements.",
        "curate/test_pairs.py",
        "iterate/test_methods_run.py",
    ),
    # ---- promotion --------------------------------------------------------------------------------------------------------------
    promise(
        "promote.chain",
        "A cluster's chain is a table: no way leads from any state to production without people, and what is not in it is refused with its reason.",
        "promote/test_chains.py",
    ),
    promise(
        "promote.gates",
        "A gate says its figure, its limit and what would open it; what was not measured, or by another rubric, opens none.",
        "promote/test_checks.py",
    ),
    promise(
        "promote.once",
        "A promotion is taken once and whole: of racing ones one wins, a kill leaves the state before or after, a request is used once and in its time.",
        "promote/test_records.py",
    ),
    promise(
        "promote.asked",
        "An agent brings an accepted version as far as shadow and takes one back; what people sign it can only ask for, and every refused signature is logged.",
        "promote/test_promoting.py",
        "server/test_mcp.py::test_an_agent_asks_for_a_promotion_in_its_own_name_and_hands_in_a_signature_like_anybody",
        "server/test_surfaces.py::test_a_promotion_that_cannot_be_and_a_signature_for_nothing",
        "server/test_cli.py::test_a_closed_gate_is_done_and_exits_with_1",
    ),
    promise(
        "promote.whole",
        "From a candidate into production a version goes by people's signatures over requests that name its evidence; a wrong key, an expired request, a "
        "replay, a race, a tampered bundle and a tampered adapter are refused on the way, and a rollback leads back: with real vLLM.",
        "promote/test_end_to_end.py",
    ),
    promise(
        "promote.rollback",
        "A rollback lets a version answer again that people have let serve, and no other; of rollbacks and promotions that race one wins, and a daemon "
        "killed at any step leaves the version before or after.",
        "promote/test_chains.py::test_a_rollback_leads_from_what_another_took_the_place_of_and_from_nowhere_else",
        "promote/test_records.py::test_what_never_served_is_not_rolled_back_to_from_any_state_it_can_stand_in",
        "promote/test_records.py::test_of_a_rollback_and_a_last_signature_at_once_one_wins",
        "serve/test_rollback.py::test_of_rollbacks_at_once_one_wins",
        "serve/test_rollback.py::test_a_daemon_killed_at_any_step_leaves_the_version_before_or_after",
    ),
    promise(
        "promote.rollback.incumbent",
        "After a rollback the loop begins with the version that serves, or with what is left, says so in plan, ledger and log, and does not accept the "
        "weights that were rolled back.",
        "promote/test_promoting.py::test_after_it_is_rolled_back_the_loop_begins_with_what_is_left_and_does_not_bring_the_same_weights_back",
        "promote/test_records.py::test_with_the_version_that_serves_the_loop_s_incumbent_changes_and_says_why",
        "promote/test_records.py::test_a_version_that_is_let_serve_again_becomes_the_incumbent_again",
        "promote/test_records.py::test_what_is_taken_back_before_it_serves_leaves_the_loop_the_newest_version_that_is_left",
        "serve/test_rollback.py::test_what_was_rolled_back_takes_signatures_to_come_back",
    ),
    promise(
        "promote.rollback.drilled",
        "The seconds of a drill, there and back, are kept in the log and shown with the evidence of the versions that are judged after it.",
        "serve/test_rollback.py::test_the_seconds_of_a_drill_are_in_the_log_and_in_the_evidence_and_its_page",
        "promote/test_records.py::test_of_drills_the_newest_counts_in_which_both_versions_were_proved",
        "promote/evidence/test_evidence_page.py::test_a_drill_is_said_with_both_ways_and_whether_a_server_had_to_start",
    ),
    promise(
        "evidence.operations",
        "Evidence says latency, answers and tokens a second and machine seconds a decision as they were measured; money only at a price that somebody "
        "gave, and what was not measured is said to be absent.",
        "promote/evidence/test_bundle.py::test_what_the_measurement_took_is_said_and_money_only_where_somebody_gave_a_price",
        "promote/evidence/test_bundle.py::test_what_the_cache_answered_is_no_capacity",
        "promote/evidence/test_evidence_tool.py::test_the_measurement_gives_capacity_and_seconds_and_a_price_gives_money_in_a_new_bundle",
        "config/test_loading.py::test_a_mistake_in_clusters_json_is_named_by_path_value_and_expectation",
    ),
    promise(
        "evidence.ceiling",
        "The best teacher, endpoint or larger model that was measured on the same items is the ceiling; where there is none, the evidence says so.",
        "promote/evidence/test_bundle.py::test_the_ceiling_is_looked_for_among_teachers_endpoints_and_larger_models",
        "promote/evidence/test_evidence_tool.py::test_a_teacher_that_is_measured_later_becomes_the_ceiling_of_a_new_bundle",
    ),
    promise(
        "evidence.signed_stays",
        "While a version serves, its evidence is the statement that people signed for, whatever was measured since.",
        "promote/test_signed_promotion.py::test_what_people_let_serve_keeps_the_evidence_that_they_signed_until_it_is_rolled_back",
    ),
    promise(
        "promote.rollback.proved",
        "Whatever comes to serve was proved by fingerprint on the server that answers; flips happen in seconds under requests, and none of them fails.",
        "serve/test_rollback.py",
        "promote/test_end_to_end.py",
        "server/test_gateway.py",
        "generate/test_servers.py::test_a_server_that_serves_is_apart_from_the_one_that_measurements_change",
        "generate/test_servers.py::test_where_versions_serve_an_adapter_is_loaded_while_others_answer_and_a_wrong_one_costs_them_nothing",
    ),
    promise(
        "promote.rollback.alone",
        "By a cluster's policy, a version that a new measurement shows worse than its evidence is rolled back unasked; nothing is promoted so.",
        "promote/test_regression.py",
        "serve/test_rollback.py::test_a_version_that_is_measured_worse_than_its_evidence_is_rolled_back_where_the_policy_says_so",
    ),
    # ---- promotion: approvals -----------------------------------------------------------------------------------------------------
    promise(
        "approve.signature",
        "An approval is a signature over the whole request; a wrong key, purpose, person, role, level or time is refused with its reason and the way to mend it.",
        "promote/test_approval_signatures.py",
    ),
    promise(
        "approve.list",
        "The approver list is changed only by those whom it names; what was cut, moved or replaced shows by its chain or its head.",
        "promote/test_approver_list.py",
    ),
    promise(
        "approve.passkey",
        "A passkey approves the one request that it was shown, on its own page, with touch and verification; the page is ours alone and forbids the rest.",
        "promote/test_passkeys.py",
        "server/test_pages.py",
        "server/test_browser.py::test_a_person_makes_a_passkey_in_a_browser_and_brings_a_version_into_production_with_it",
        "server/test_browser.py::test_a_device_that_does_not_confirm_leaves_the_request_open_and_the_page_says_what_to_do",
    ),
    promise(
        "approve.page",
        "The pages for people do in a browser what they say, by mouse or keyboard: all that is signed is read before the device is asked, on any screen, in "
        "light and dark, and what goes wrong is said with what to do.",
        "server/test_browser.py",
        "server/test_daemon.py::test_both_addresses_of_localhost_are_the_daemon_s_and_a_port_on_which_one_is_not_is_left_alone",
    ),
    promise(
        "approve.terminal",
        "In a terminal, what is shown is what is signed; a list is founded, changed by as many people as it asks for, and verified by its head.",
        "promote/test_approve_commands.py",
    ),
    promise(
        "approve.attacks",
        "A shell without an approver's key opens no gate: agents that sign silently, forged lists, edited rows and replays are each refused.",
        "promote/test_attacks.py",
        "promote/test_signing.py",
        "promote/test_signed_promotion.py",
    ),
    # ---- issue 4: promotion: evidence -------------------------------------------------------------------------------------------
    promise(
        "evidence.verdict",
        "An evidence bundle's verdict, figures and conditions follow from its per-item results, for anybody with the bundle and the public key; a lie "
        "does not, whoever signed it.",
        "promote/evidence/test_bundle.py",
        "server/test_verify_command.py",
    ),
    promise(
        "evidence.altered",
        "Any altered byte in any file of a bundle is found, by `modelsmith verify` and by the standalone verifier alike.",
        "promote/evidence/test_bundle.py::test_a_flipped_byte_anywhere_in_any_file_is_refused_by_both_verifiers",
        "promote/evidence/test_bundle.py::test_a_bundle_that_is_not_whole_or_not_plain_files_is_refused",
        "promote/evidence/test_bundle.py::test_a_bundle_that_another_key_signed_is_refused_against_the_named_one",
    ),
    promise(
        "evidence.approved",
        "Whoever deploys verifies from the signatures, by a list of their own, that people approved the very evidence at hand for the state they ask about.",
        "promote/evidence/test_bundle.py::test_an_approval_is_believed_for_its_signature_by_the_list_as_it_stood_and_for_nothing_else",
        "promote/test_end_to_end.py",
    ),
    promise(
        "evidence.whole",
        "Evidence that was altered where it is kept is not shown for signing, and no further request names it.",
        "promote/test_signed_promotion.py::test_evidence_that_was_altered_where_it_is_kept_is_not_shown_and_the_next_request_names_another",
    ),
    promise(
        "evidence.standalone",
        "A verifier of under 200 lines, with Python and `cryptography` alone, ships in every bundle.",
        "promote/evidence/test_standalone.py",
    ),
    promise(
        "evidence.redaction",
        "No prompt, answer, item id, path, host or user name is in any file of a bundle, and no item can be found from its hash.",
        "promote/evidence/test_redaction.py",
        "promote/evidence/test_evidence_tool.py::test_no_held_out_item_is_in_the_bundle_or_in_the_answer",
    ),
    promise(
        "evidence.page",
        "A bundle's page shows movement, slices and regressions as pictures, prints, runs nothing, and says what the statement says.",
        "promote/evidence/test_evidence_page.py",
        "promote/evidence/test_bundle.py::test_a_page_that_shows_something_else_is_refused_even_when_it_is_signed",
        "server/test_browser.py::test_the_evidence_is_read_without_javascript_and_printed_with_all_its_pictures",
    ),
    promise(
        "evidence.tool",
        "The tool `evidence` makes the bundle of an accepted version once and finds it again; of a version that was rolled back it makes none.",
        "promote/evidence/test_evidence_tool.py",
    ),
    promise(
        "evidence.envelope",
        "Evidence is signed as DSSE says, by one key that is made once, is its owner's alone, and is never replaced unseen.",
        "promote/evidence/test_dsse.py",
        "promote/evidence/test_signing_key.py",
    ),
    # ---- promotion: package and parity --------------------------------------------------------------------------------------------
    promise(
        "package.parity",
        "An export is held against the answers that were evaluated: by letters, score, log-probabilities and what is missing; without it no version "
        "enters or leaves the exported state.",
        "promote/package/test_parity.py",
        "promote/package/test_export_run.py",
    ),
    promise(
        "package.broken",
        "An export whose chat template, tokenizer, adapter scaling or a tensor is another is caught by its replay, also where every file is as it was "
        "made; a quantised form that does not load or agree stays out and is said to.",
        "promote/package/test_broken_exports.py",
        "promote/package/test_real_export.py",
    ),
    promise(
        "package.signed",
        "A package verifies anywhere with a public key, by Modelsmith and by OpenSSF's tool; any altered, missing or added file is refused; its card is "
        "what the Hugging Face hub reads.",
        "promote/package/test_package.py",
    ),
    promise(
        "package.mlflow",
        "A package that verifies is registered in MLflow once, with its figures and digests as tags; an alias says whether people let it answer.",
        "promote/package/test_mlflow.py",
    ),
    # ---- escalations --------------------------------------------------------------------------------------------------------------
    promise(
        "escalate.opened",
        "A run that failed for good, and a pattern that training did not move, is escalated by itself once, with what is known of it; a crash between its "
        "end and the escalation loses nothing.",
        "escalate/test_escalating.py",
        "escalate/test_daemon_escalates.py",
        "escalate/test_records.py",
        "escalate/test_reproduction.py",
    ),
    promise(
        "escalate.signature",
        "The same failure adds to its escalation, whatever numbers, ids and paths it names; beyond a bound, what is new is counted and not piled up.",
        "escalate/test_signature.py",
        "escalate/test_records.py::test_beyond_the_bound_new_failures_are_counted_in_one_escalation_and_known_ones_in_their_own",
    ),
    promise(
        "escalate.folder",
        "An escalation's folder is whole or written again, wherever the power goes and whoever edits it; hostile text in it is fenced and marked as data.",
        "escalate/test_folder.py",
        "escalate/test_escalating.py::test_a_start_that_loses_power_at_any_write_of_the_folder_leaves_it_to_the_next",
    ),
    promise(
        "escalate.redaction",
        "No secret, mail address, path or name of the machine stands in an escalation, and no held-out item.",
        "escalate/test_redaction.py",
        "escalate/test_escalating.py::test_a_pattern_that_training_did_not_move_is_escalated_with_core_examples_and_the_check_that_it_is_gone",
    ),
    promise(
        "escalate.lifecycle",
        "An escalation moves along a table alone: nothing is closed that its check did not verify, and of two moves that race one is taken.",
        "escalate/test_lifecycle.py",
        "escalate/test_resolution.py",
        "escalate/test_records.py::test_of_two_proposals_that_race_one_stands_and_the_other_is_told",
    ),
    promise(
        "escalate.rules",
        "An escalation can become a rule of the taxonomy with its own failure as its case: the next one is known, and a pattern that nothing explained "
        "has a class.",
        "escalate/test_rules.py",
        "escalate/test_escalating.py::test_an_escalation_becomes_a_rule_with_its_own_case_and_the_next_one_is_not_new",
    ),
    promise(
        "escalate.governed",
        "A fix that touches clusters.json, a domain's contract or evaluation, or the taxonomy is applied after a person has signed that very change, and "
        "no agent can sign.",
        "escalate/test_escalating.py::test_no_attempt_without_the_key_approves_a_fix_and_each_is_in_the_log",
        "escalate/test_escalating.py::test_a_person_signs_the_exact_change_and_then_it_is_applied",
        "escalate/test_escalating.py::test_what_people_decided_is_not_changed_without_a_person",
    ),
    # ---- runbooks ---------------------------------------------------------------------------------------------------------------
    promise(
        "runbooks.cover",
        "Every error code and every failure class has exactly one runbook.",
        "escalate/test_runbooks.py::test_every_error_code_has_exactly_one_runbook",
        "escalate/test_runbooks.py::test_every_failure_class_has_exactly_one_runbook",
        "escalate/test_runbooks.py::test_two_runbooks_for_one_code_are_refused_by_name",
    ),
    promise(
        "runbooks.fit",
        "Each runbook parses, and its calls, arguments, expected results and commands fit the tools as they are; what a person has to do is never carried out.",
        "escalate/test_runbooks.py",
        "escalate/test_templates.py",
    ),
    promise(
        "runbooks.surfaces",
        "Each error that a surface shows names its runbook, which is read over REST, as an MCP resource or prompt, in the terminal and in the docs, and ships as a skill.",
        "server/test_resources.py",
        "server/test_runbook_commands.py",
        "server/test_http.py::test_runbooks_are_listed_and_read_by_id_code_or_class",
        "server/test_http.py::test_what_the_guard_refuses_names_its_runbook_too",
        "server/test_docs.py::test_the_committed_page_is_what_the_code_would_write",
    ),
    promise(
        "runbooks.run",
        "`modelsmith runbook run` does what is mechanical, stops where a step is somebody's, and says what came of it; a dry run does nothing.",
        "server/test_runbook_commands.py::test_a_dry_run_fills_in_what_is_known_and_does_nothing",
        "server/test_runbook_commands.py::test_it_stops_at_a_step_of_somebody_and_goes_on_when_that_is_done",
        "server/test_runbook_commands.py::test_what_came_to_something_else_is_said_with_the_error_and_nothing_more_is_done",
    ),
    promise(
        "runbooks.work",
        "Every runbook, carried out against the fault that it is for, ends with its verification; until somebody has done their part, it waits or says what is wrong.",
        "escalate/test_executions.py",
    ),
    # ---- the atlas ----------------------------------------------------------------------------------------------------------------------
    promise(
        "atlas.catalogue",
        "Models and accelerators ship with their sources; a workspace adds its own by one entry, and is told what is wrong with it.",
        "atlas/test_catalogue.py",
    ),
    promise("atlas.physics", "Memory, time and money follow from formulas with sources; what no source says stays unknown.", "atlas/test_physics.py"),
    promise(
        "atlas.intervals",
        "An estimate has the interval that measurements left out of the fit lay in, and says how near it lies to what was measured.",
        "atlas/test_grid.py",
    ),
    promise(
        "atlas.lab",
        "All that follows for one model on one accelerator comes out at once, and a figure that no measurement stands behind has no interval and says so.",
        "atlas/test_lab.py",
    ),
    promise("atlas.search", "Models are found by what they are for and need, on hardware that one names, and set side by side.", "atlas/test_search.py"),
    promise(
        "atlas.plan",
        "Configurations that do what is asked are ranked with every term shown, and what is exported is taken by the installed vLLM's own parser.",
        "atlas/test_plan.py",
    ),
    promise(
        "atlas.recalibration",
        "Measurements of one's own correct the estimates of their setting, and of no other.",
        "atlas/test_recalibration.py",
    ),
    promise(
        "atlas.triage",
        "Whether to train follows from measurements, the cheapest way first; rules alone never say train, and what needs no training is never beaten unseen.",
        "atlas/test_triage.py",
        "iterate/test_triage_run.py",
    ),
    promise("atlas.learning_curve", "How many rows a target takes is foretold from measured sizes with an interval, and not far beyond them.", "atlas/test_learning_curve.py"),
    promise("atlas.decisions", "Answers are kept as the tools gave them, with notes, asked again, and held against each other.", "atlas/test_decisions.py"),
    promise(
        "atlas.pages",
        "Pages about the atlas are read by whoever has the daemon's code in the address, without JavaScript and by keyboard alone, on any screen; "
        "hostile words stay words; what is wrong is said beside its field, and every field says why it matters.",
        "server/test_atlas_pages.py",
        "server/test_atlas_browser.py",
    ),
    promise(
        "atlas.laboratory",
        "In the laboratory a knob's pictures are redrawn in less than a tenth of a second where nothing else keeps the machine busy, with intervals, limits "
        "and the textbook beside them, and all of it can be read as tables; without JavaScript its button does the same.",
        "atlas/test_physics_lab.py",
        "server/test_atlas_browser.py::test_a_knob_that_moves_redraws_its_pictures_before_one_waits_for_them",
        "server/test_atlas_browser.py::test_without_a_script_the_laboratory_is_turned_by_its_button",
        "server/test_atlas_pages.py::test_the_laboratory_draws_what_the_tool_answers_and_says_it_as_tables",
    ),
    promise(
        "atlas.exercises",
        "Exercises on the pages have one right answer, computed from the atlas when they are asked, and say why.",
        "atlas/test_exercises.py",
        "server/test_atlas_pages.py::test_an_exercise_is_answered_by_the_figures_of_the_page_and_checked_without_a_script",
        "server/test_atlas_pages.py::test_the_right_answer_follows_what_is_looked_at",
    ),
    promise(
        "atlas.pages.deciding",
        "Whether to train is read on a page, and answers are kept by a form there, with notes; another web page can keep nothing.",
        "server/test_triage_pages.py",
    ),
    promise("atlas.import", "A model joins the atlas from its own files, and nothing outside of the workspace is read.", "atlas/test_importing.py"),
    promise(
        "atlas.import.hub",
        "From the hub come a model's small files at one commit and no weights; where the hub does not answer, the way by a folder is named.",
        "atlas/test_hub.py",
    ),
)
