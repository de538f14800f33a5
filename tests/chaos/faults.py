"""Each fault of the catalogue: how it is injected, and what is expected then.

A fault is injected by a storm (a harm of ``harms.py``, with jobs of every kind), by another trial of this package, by
tests, or by several of them. A fault that cannot be injected here is told with the reason instead. ``test_chaos.py``
fails for a number without a row and for a test that does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    title: str
    expected: str
    storms: tuple[str, ...] = ()  # harms
    trials: tuple[str, ...] = ()  # other modules of this package
    tests: tuple[str, ...] = ()  # "file::test", below tests/
    not_here: str = ""
    limit: float = 35.0  # seconds until jobs are settled, or work goes on


DEATHS, FREEZES, ABORT = "processes/test_deaths.py", "processes/test_freezes.py", "processes/test_abort.py"
ENDINGS, STOPPING, STORY = "processes/test_endings.py", "processes/test_stopping.py", "processes/test_story.py"
SERVER, LOST = "processes/test_database_faults.py", "processes/test_lost_answers.py"
SCHEDULER, SCHEDULES = "maintenance/test_scheduler.py", "processes/test_schedules.py"
CRON, TIMETABLE = "schedules/test_cron.py", "schedules/test_timetable.py"
FORKSERVER, RUN_FORM = "worker/test_forkserver.py", "admin/test_run_form.py"
SNAPSHOTS = "worker/parent/test_old_snapshots.py"
VERBS, REFUSED, DRIFT = "models/test_job_verbs.py", "arguments/test_refused.py", "arguments/test_drift.py"

FAULTS: dict[str, Fault] = {
    # Workers and processes.
    "F01": Fault("the process of a job is killed", "settled at once, tail of the log kept", (
        "kill a child",), tests=(f"{ENDINGS}::test_a_killed_child_shows_within_a_second",), limit=5),
    "F02": Fault("a worker is killed and does not come back", "others take over after lease and observation", (
        "kill a worker for good",), limit=12),
    "F03": Fault("a worker is killed and started again", "settled without waiting for the lease", (
        "kill a worker and start another",), limit=12),
    "F04": Fault("a machine dies", "others take over after lease and observation", ("kill a machine",), limit=12),
    "F05": Fault("a crash at every commit and message", "nothing lost, nothing twice", trials=("crashes", "handovers")),
    "F06": Fault("a job hangs", "ended by its time limit; without one it keeps its lease", ("freeze a child",), tests=(
        f"{ENDINGS}::test_a_stopped_process_is_over_its_time_limit_too",)),
    "F07": Fault("an owner that stood still comes back", "its writes are refused, its processes ended", (
        "freeze a parent",), ("freezes",), limit=12),
    "F08": Fault("a whole machine stands still", "the same", ("freeze a machine",), limit=12, tests=(
        "processes/test_frozen_locks.py::test_its_job_is_taken_over_and_nothing_is_done_twice",
        "processes/test_frozen_locks.py::test_whoever_writes_to_a_file_waits_until_it_is_killed")),
    "F09": Fault("TERM while a short job runs", "it ends, nothing new begins, status 0", ("stop a worker",), tests=(
        f"{STOPPING}::test_the_first_signal_lets_running_jobs_end_and_takes_no_more",)),
    "F10": Fault("TERM while a long job runs", "interrupted, back in the queue", ("stop a worker",), tests=(
        f"{STOPPING}::test_after_the_grace_jobs_are_interrupted_and_go_back_if_they_may",)),
    "F11": Fault("TERM, and KILL soon after", "as F03", ("stop a worker and kill it soon",), limit=12),
    "F12": Fault("Ctrl-C twice", "one orderly stop, the second forces", ("stop a worker twice",), tests=(
        f"{STOPPING}::test_ctrl_c_of_the_whole_terminal_is_an_orderly_end",)),
    "F13": Fault("a job ends its process itself", "never done", tests=(
        f"{ENDINGS}::test_a_process_that_ends_itself_is_never_done",)),
    "F14": Fault("out of memory", "the failure of the job, and it says so", tests=(
        f"{ENDINGS}::test_too_much_memory_is_the_jobs_failure",)),
    "F15": Fault("poison", "three crashes, and others go on", ("run poison",), limit=30),
    "F16": Fault("daemons of daemons", "found and ended", ("abort hostile trees",), ("trees",)),
    "F17": Fault("TERM is ignored", "KILL after the grace", tests=(
        f"{ABORT}::test_who_ignores_the_request_is_killed_after_the_grace",)),
    "F18": Fault("uninterruptible sleep", "shown as not ended yet", not_here=(
        "a process that cannot be interrupted needs a frozen file system, which could stop other work on the machine")),
    "F19": Fault("a number of a process is used again", "the bystander is left alone", tests=(
        f"{DEATHS}::test_a_process_with_the_number_of_a_dead_worker_is_left_alone",
        "system/test_processes.py::test_a_process_is_ended_only_if_it_is_the_one")),
    "F20": Fault("orphans of jobs where the worker is process 1", "all are reaped", tests=(
        f"{FORKSERVER}::test_a_hostile_tree_is_gone_and_buried_after_the_fork_server_was_killed",)),
    "F21": Fault("no processes or descriptors left", "tried again, the worker lives", tests=(
        "worker/parent/test_forkserver_client.py::test_without_room_for_a_process_it_is_tried_again_later",
        "worker/parent/test_pool.py::test_a_child_that_gets_no_pipes_is_started_later",
        "database/test_network.py::test_a_process_without_free_descriptors_goes_on")),
    "F22": Fault("a child cannot start", "the worker ends with the reason, or starts it again", tests=(
        f"{FORKSERVER}::test_a_fork_server_that_cannot_start_ends_the_worker_with_the_reason",
        f"{FORKSERVER}::test_a_deleted_folder_is_told_once_and_processes_are_not_started_all_the_time")),
    "F23": Fault("a grandchild keeps the output open", "the job ends all the same", tests=(
        f"{ENDINGS}::test_a_daemon_that_a_finished_job_left_is_ended",)),
    "F24": Fault("a thread or an exit function hangs", "the result counts, the process is ended", tests=(
        f"{ENDINGS}::test_a_thread_that_never_ends_does_not_hold_the_result",
        "processes/test_farewell.py::test_a_process_whose_exit_functions_hang_takes_nobodys_place_for_good")),
    "F25": Fault("a flood of output", "the job is slowed down, not the worker", tests=(
        f"{STORY}::test_a_hundred_megabytes_of_output_do_not_stop_the_worker",)),
    "F26": Fault("a part of a worker stands still", "it is ended, or goes on", (
        "freeze a fork server", "kill a fork server")),
    "F27": Fault("workers are restarted one by one", "nothing lost, nothing twice", ("restart all one by one",)),
    "F28": Fault("a job bends its process", "a crash, or made good", tests=(
        f"{ENDINGS}::test_a_job_without_its_pipe_is_a_crash",
        f"{ENDINGS}::test_a_job_leaves_nothing_of_its_surroundings_to_the_next",
        f"{ENDINGS}::test_nothing_that_a_child_says_ends_the_worker")),
    # The database.
    "F29": Fault("the server is restarted", "work goes on, nothing lost", (
        "restart the server",), ("restarts",), limit=30),
    "F30": Fault("the server is killed", "what was acknowledged is there", ("kill the server",), limit=30),
    "F31": Fault("sessions are ended", "work goes on, nothing twice", ("end all sessions",), limit=30),
    "F32": Fault("MariaDB is killed", "as F30", ("kill the server",), limit=30),
    "F33": Fault("one worker is cut off", "others take over, late writes are refused", ("cut one worker off",), (
        "silences",), limit=15),
    "F34": Fault("the answer to a commit is lost", "found out, done once", ("cut after commits",), tests=(
        f"{LOST}::test_a_job_is_run_although_the_answer_to_its_claim_was_lost",
        f"{LOST}::test_a_job_is_run_although_its_claim_took_effect_after_the_connection_was_cut")),
    "F35": Fault("a slow database", "nobody takes over", ("slow the database down",)),
    "F36": Fault("rows or a file are locked by others", "only that waits", ("lock rows", "lock the file"), tests=(
        f"{SERVER}::test_a_row_locked_by_others_holds_up_only_its_job",
        f"{SERVER}::test_a_lock_longer_than_the_lease_makes_nobody_take_over")),
    "F37": Fault("deadlocks", "both go through", tests=(
        "models/test_unique.py::test_batches_in_opposite_orders_both_go_through",)),
    "F38": Fault("no connections are left", "workers wait", ("use up all connections",), limit=30),
    "F39": Fault("an old snapshot is kept", "claims stay quick", ("keep a transaction open",), tests=(
        f"{SNAPSHOTS}::test_a_claim_visits_no_more_after_many_finished_jobs_than_after_few",)),
    "F40": Fault("the only writer of SQLite is blocked", "waited for", ("lock the file",), tests=(
        f"{SERVER}::test_a_file_locked_by_others_is_waited_for",)),
    "F41": Fault("SQLite upgrades a lock", "a system check advises IMMEDIATE, and the worker says so", tests=(
        "checks/test_checks.py::test_w003_sqlite_without_wal_or_immediate_without_a_query",)),
    "F42": Fault("the disk is full", "counts as a failure of the database; tried again", tests=(
        "database/test_connection.py::test_a_call_that_waited_for_a_lock_in_vain_is_no_failure_of_the_database",)),
    "F43": Fault("the disk of a job is full", "the job fails alone", tests=(
        "execution/test_files.py::test_a_failure_leaves_neither_a_part_nor_a_record",)),
    "F44": Fault("the file of SQLite is replaced", "it is opened again", tests=(
        "database/test_connection.py::test_a_file_that_was_replaced_is_opened_again",)),
    "F45": Fault("a failover loses the last commits", "attempts that are gone are stopped", tests=(
        f"{ABORT}::test_a_deleted_running_job_loses_its_processes",)),
    "F46": Fault("migrations while workers run", "old and new work together", not_here=(
        "there is one migration until the first release")),
    "F47": Fault("a pooler for transactions", "nothing depends on the session", tests=(
        "processes/test_pooler.py::test_jobs_run_and_nothing_is_left_in_the_sessions",)),
    "F48": Fault("other isolation levels", "lost races, or tried again", tests=(
        "execution/test_loops.py::test_lets_an_abort_through_at_each_isolation_level",
        "execution/test_loops.py::test_is_committed_at_each_isolation_level_although_the_worker_writes_meanwhile")),
    "F49": Fault("a replica that is behind", "decisions read where rows are written", tests=(
        "test_replica.py::test_every_page_is_read_where_rows_are_written",
        "test_replica.py::test_a_command_runs_a_job")),
    "F50": Fault("each statement fails once", "all or nothing", tests=(
        "models/test_verbs_and_faults.py::test_a_verb_happens_with_its_record_or_not_at_all",
        f"{SCHEDULER}::test_whatever_statement_fails_it_is_all_or_nothing")),
    # Clocks and schedules.
    "F51": Fault("clocks of workers and people are wrong, and jump", "the database's counts", (
        "let clocks jump",), tests=(
        f"{SCHEDULER}::test_the_clock_of_the_worker_does_not_matter",)),
    "F52": Fault("the clock of the database jumps ahead", "no slot twice", (
        "let the clock of the database jump",), tests=(
        f"{SCHEDULER}::test_a_clock_of_the_database_that_jumps_ahead_and_back_repeats_nothing",)),
    "F53": Fault("the clock of the database goes back", "no slot twice", (
        "let the clock of the database jump",), tests=(
        f"{SCHEDULER}::test_a_clock_of_the_database_that_goes_back_repeats_nothing",)),
    "F54": Fault("a time that the clocks leave out", "the first instant after it", tests=(
        f"{CRON}::test_a_fixed_time_that_does_not_exist_comes_at_the_first_instant_after_the_gap",)),
    "F55": Fault("a time that comes twice", "once; steps follow every instant", tests=(
        f"{CRON}::test_a_fixed_time_that_exists_twice_comes_once",
        f"{CRON}::test_a_step_follows_every_instant_of_both_hours")),
    "F56": Fault("odd zones", "the same rules", tests=(
        f"{CRON}::test_it_agrees_with_cronsim_around_clock_changes",
        f"{TIMETABLE}::test_a_date_that_never_was_comes_when_the_next_one_begins")),
    "F57": Fault("new rules for a zone", "moved, and once", tests=(
        f"{TIMETABLE}::test_new_rules_for_a_zone_move_a_fixed_time_and_leave_its_name",
        "maintenance/test_declared.py::test_a_fixed_time_is_moved_and_comes_once")),
    "F58": Fault("ten schedulers, stopped and killed", "one job for each time", tests=(
        f"{SCHEDULES}::test_stopped_and_killed_at_any_moment_they_make_one_job_for_each_time",
        f"{SCHEDULER}::test_of_ten_schedulers_one_fires")),
    "F59": Fault("no worker ran for hours", "each schedule does as its policy says", tests=(
        f"{TIMETABLE}::test_misfire_policies_against_their_definition",
        f"{SCHEDULES}::test_a_worker_that_was_stopped_goes_on_by_the_misfire_policy")),
    "F60": Fault("a scheduler is late", "once, for the time that was meant", tests=(
        f"{SCHEDULER}::test_late_it_fires_for_the_time_that_was_meant",)),
    "F61": Fault("dates that are rare or impossible", "refused, or the right date", tests=(
        f"{CRON}::test_29_february_is_found_over_the_century_without_a_leap_year",
        f"{CRON}::test_what_does_not_happen_in_forty_years_ends")),
    "F62": Fault("a schedule changes as it fires", "the old rule or the new one", tests=(
        f"{SCHEDULER}::test_changed_the_new_rule_runs", f"{SCHEDULER}::test_deleted", f"{SCHEDULER}::test_paused")),
    "F63": Fault("odd single times", "now, refused, or stored", tests=(
        f"{TIMETABLE}::test_the_year_9999_is_taken_and_its_last_day_is_not",
        f"{TIMETABLE}::test_a_time_that_the_clocks_leave_out_is_refused_with_the_one_after_it")),
    # People against workers.
    "F64": Fault("progress against an abort", "the abort stays", ("abort what runs",), tests=(
        f"{ABORT}::test_progress_never_undoes_an_abort",)),
    "F65": Fault("an abort against an end", "one end", ("abort what runs",), tests=(
        f"{ABORT}::test_abort_and_finish_at_the_same_time_give_one_end",
        f"{VERBS}::test_an_abort_and_an_end_make_exactly_one_end")),
    "F66": Fault("a cancellation against a claim", "one winner", tests=(
        f"{ABORT}::test_cancel_against_claim_gives_one_winner",
        f"{VERBS}::test_a_cancelled_job_never_starts_and_a_started_one_is_never_cancelled")),
    "F67": Fault("a change against a claim", "the old arguments or the new ones", tests=(
        f"{VERBS}::test_the_row_decides_not_the_copy_in_memory",)),
    "F68": Fault("a form is sent twice", "one job", tests=(
        f"{RUN_FORM}::test_a_second_submit_lands_on_the_first_job",)),
    "F69": Fault("a row is deleted while its job runs", "its processes are ended", tests=(
        f"{ABORT}::test_a_deleted_running_job_loses_its_processes",)),
    "F70": Fault("a user or the code is gone", "the record stays, the job waits", tests=(
        f"{VERBS}::test_users_that_are_gone_stay_named",
        f"{ENDINGS}::test_a_job_of_an_unknown_type_is_left_waiting")),
    "F71": Fault("run again: what runs, what changed, what is secret", "refused, or asked for", tests=(
        "admin/test_drift.py::test_run_again_starts_nothing_and_leads_to_the_form",
        "security/test_requests.py::test_secrets_are_not_copied_to_who_runs_it_again")),
    "F72": Fault("many workers want the same jobs", "each starts once", tests=(
        "processes/test_many.py::test_each_of_ten_thousand_jobs_runs_exactly_once",)),
    # Odd input and code.
    "F73": Fault("arguments that JSON cannot carry", "a round trip, or refused", tests=(
        f"{REFUSED}::test_what_json_has_no_type_for_is_refused",
        f"{REFUSED}::test_a_structure_that_contains_itself_is_refused")),
    "F74": Fault("huge or deep input", "refused before it is parsed", tests=(
        f"{REFUSED}::test_json_above_the_limit_is_refused_before_it_is_parsed",
        f"{REFUSED}::test_fifty_levels_are_enough_for_everybody")),
    "F75": Fault("a flood of lines, and bytes that are no text", "capped, shown readably", tests=(
        f"{STORY}::test_a_flood_of_lines_is_kept_to_the_last_and_the_worker_lives",
        f"{STORY}::test_bytes_that_are_no_text_do_not_stop_the_log",
        "processes/test_caps.py::test_what_is_beyond_a_cap_is_counted_and_not_kept")),
    "F76": Fault("a flood of progress", "few writes", tests=(
        f"{STORY}::test_ten_thousand_signs_of_progress_are_few_writes_and_end_at_the_last",)),
    "F77": Fault("names and parameters change", "left waiting, or refused by name", tests=(
        f"{ENDINGS}::test_a_job_of_an_unknown_type_is_left_waiting",
        f"{ENDINGS}::test_arguments_that_are_no_longer_valid_are_refused_by_name",
        f"{DRIFT}::test_a_new_field_without_a_default_stops_old_jobs")),
    "F78": Fault("many fail at once; low priorities wait", "spread out, and aged", tests=(
        "definitions/test_backoff.py::test_jobs_that_failed_together_do_not_come_back_together",
        "models/test_ageing.py::test_a_job_with_a_low_priority_is_not_passed_for_ever")),
}  # fmt: skip
