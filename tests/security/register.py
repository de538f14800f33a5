"""Each case of the catalogue of attacks, what is expected, and the tests that say so.

``test_register.py`` fails for a case without a test and for a test that does not exist. A case that cannot arise is
told with the reason instead.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    attack: str
    expected: str
    tests: tuple[str, ...] = ()  # "file::test", below tests/
    cannot_arise: str = ""


MATRIX = "security/test_matrix.py::test_every_role_gets_the_answer_that_is_declared"
OWN = "security/test_own_jobs.py"
REQUESTS = "security/test_requests.py"
CANARY = "security/test_canary.py::test_text_is_text_wherever_it_comes_in_and_wherever_it_is_shown"
REST = "security/test_canary_rest.py::test_text_is_text_on_the_pages_of_all_that_stands_beside_a_job"
SECRET = "security/test_canary_secret.py::test_a_secret_is_nowhere_but_in_the_job"
PAGES = "admin/test_pages.py"

CASES: dict[str, Case] = {
    "S01": Case("no right at all", "no page, count or name", (
        MATRIX, f"{PAGES}::test_staff_without_any_right_gets_no_page")),
    "S02": Case("a job of another type by its number", "not found, like a number that there is not", (
        f"{PAGES}::test_a_job_one_may_not_see_is_not_found_exactly_like_one_that_does_not_exist", MATRIX)),
    "S03": Case("running a type without the right", "403, nothing stored, on record", (
        "admin/test_run_form.py::test_who_may_not_run_it_is_refused_and_written_down",
        "security/test_matrix.py::test_who_is_refused_a_change_is_on_record")),
    "S04": Case("each verb without its own right", "403 each", (
        "admin/test_buttons.py::test_without_the_permission_nothing_changes_and_the_attempt_is_written_down",
        "admin/test_permissions.py::test_without_one_of_them_everything_else_is_not_enough")),
    "S05": Case("log, results, live data with the right to the list only", "the check of the page", (
        MATRIX, f"{PAGES}::test_log_errors_and_results_need_their_own_right")),
    "S06": Case("bulk actions beyond what one may see", "untouched and told", (
        "admin/test_bulk.py::test_jobs_one_may_not_see_are_untouched_even_if_named_or_all_are_chosen",
        f"{OWN}::test_jobs_of_others_are_left_alone_in_bulk")),
    "S07": Case("inferring what others did", "nothing revealed", (
        f"{OWN}::test_list_counts_search_and_order_know_only_ones_own",
        f"{OWN}::test_the_pages_of_others_are_not_found_like_those_of_nobody")),
    "S08": Case("a right that is taken away", "the open form is refused, the scheduled job not started", (
        f"{REQUESTS}::test_a_right_that_was_taken_away_while_the_form_was_open_is_gone",
        "security/test_recheck.py::test_who_may_no_longer_has_nothing_started",
        "security/test_recheck.py::test_in_a_worker_it_ends_as_failed_and_can_be_retried")),
    "S09": Case("rows in choices that one may not see", "neither named nor taken", (
        "admin/test_rows.py::test_a_row_that_the_admin_hides_is_neither_named_nor_taken",
        "admin/test_rows.py::test_shared_arguments_do_not_name_a_row_that_the_admin_hides",
        "admin/test_rows.py::test_who_may_not_search_the_rows_cannot_name_one")),
    "S10": Case("lookups, SQL and patterns in the address", "refused or taken as text", (
        f"{REQUESTS}::test_no_field_can_be_asked_for_by_its_name",
        f"{REQUESTS}::test_what_looks_like_sql_or_a_pattern_is_just_text")),
    "S11": Case("names that a database confuses", "refused by a system check", (
        "checks/test_checks.py::test_e002_names_that_a_database_may_confuse",)),
    "S12": Case("JSON without a session", "401 or 403, no data", (
        f"{REQUESTS}::test_what_scripts_ask_for_tells_nothing_to_who_is_not_signed_in",)),
    "S13": Case("running a superuser's job again", "needs both rights; the record names who did", (
        f"{REQUESTS}::test_to_run_a_job_of_somebody_else_again_needs_the_right_to_both_and_names_who_did",
        f"{REQUESTS}::test_secrets_are_not_copied_to_who_runs_it_again")),
    "S14": Case("changing by a safe method", "405, no write", (
        "security/test_safe_methods.py::test_looking_at_a_job_writes_nothing",
        "security/test_safe_methods.py::test_looking_at_any_other_page_writes_nothing", MATRIX)),
    "S15": Case("a POST from another site", "403", (
        f"{REQUESTS}::test_a_post_that_another_site_could_send_changes_nothing",)),
    "S16": Case("another method by a header or field", "ignored", (
        f"{REQUESTS}::test_no_header_or_field_turns_one_method_into_another",)),
    "S17": Case("redirects to another site", "dropped", (f"{REQUESTS}::test_no_answer_leads_to_another_site",)),
    "S18": Case("framing", "denied", (f"{REQUESTS}::test_every_page_forbids_to_be_framed",)),
    "S19": Case("a strict content security policy", "nothing is reported", (
        f"{PAGES}::test_no_page_has_inline_script_or_style",)),
    "S20": Case("markup in every text", "text", (CANARY, REST)),
    "S21": Case("markup in the progress text", "text", (CANARY,)),
    "S22": Case("markup that ends a script", "no data is given to scripts but in attributes, as text", (CANARY,)),
    "S23": Case("control and direction characters", "visible escapes", (
        f"{PAGES}::test_control_and_direction_characters_are_shown_as_escapes",)),
    "S24": Case("forged lines of a log", "one line a record", (
        f"{REQUESTS}::test_a_line_of_the_log_cannot_pretend_to_be_two",)),
    "S25": Case("template and format syntax in stored text", "never rendered", (CANARY, REST)),
    "S26": Case("formulas in exports", "quoted", (
        f"{PAGES}::test_every_way_to_begin_a_formula_is_quoted",
        f"{PAGES}::test_no_cell_of_the_csv_is_a_formula_and_negative_numbers_stay_numbers")),
    "S27": Case("paths as names of files", "for display only", (
        "arguments/test_files.py::test_a_name_is_for_display_only",
        "arguments/test_files.py::test_the_name_in_the_storage_tells_nothing",
        "execution/test_files.py::test_a_name_is_for_display_only")),
    "S28": Case("links in a job's output directory", "not followed", cannot_arise="a job adds single files"),
    "S29": Case("names of downloads", "made by the server, attachments, nosniff", (
        f"{PAGES}::test_the_log_is_downloaded_whole_as_text", CANARY)),
    "S30": Case("uploads: too large, planted, guessed", "limited, refused, never shown in the browser", (
        "arguments/test_files.py::test_a_file_above_the_limit_is_refused_in_form_and_code",
        "arguments/test_files.py::test_a_planted_path_is_refused",
        "admin/test_deleting.py::test_the_uploads_of_a_job_go_with_it")),
    "S31": Case("shell metacharacters", "no shell; a fixed command line", (SECRET, CANARY)),
    "S32": Case("secrets in ps", "neither arguments nor environment have them", (SECRET,)),
    "S33": Case("dotted paths as names of types", "not found", (
        f"{REQUESTS}::test_only_registered_names_are_job_types",
        "processes/test_endings.py::test_a_job_of_an_unknown_type_is_left_waiting")),
    "S34": Case("pickles and tags planted in the arguments", "refused before the handler", (
        f"{REQUESTS}::test_what_somebody_planted_in_the_arguments_is_shown_and_never_run",
        f"{REQUESTS}::test_arguments_that_are_no_object_break_no_page",
        "arguments/test_refused.py::test_what_somebody_planted_in_the_table_is_cleaned_again")),
    "S35": Case("JSON that is a trap", "an error of the form", (
        f"{REQUESTS}::test_json_that_is_a_trap_is_refused_by_the_form",
        "arguments/test_refused.py::test_json_typed_into_the_form_is_measured_and_checked")),
    "S36": Case("fields of the model in a POST", "ignored", (
        f"{REQUESTS}::test_fields_that_a_form_does_not_have_change_nothing",)),
    "S37": Case("arguments of another job", "refused", (
        "admin/test_update.py::test_jobs_of_others_are_not_found_where_one_sees_ones_own",
        "arguments/test_mapping.py::test_unknown_and_wrong_arguments_are_named",
        "arguments/test_refused.py::test_a_name_that_is_no_argument_any_more_stops_the_job")),
    "S38": Case("another type for a scheduled job", "immutable", (
        f"{REQUESTS}::test_another_time_is_all_that_can_be_changed_of_a_scheduled_job",
        f"{REQUESTS}::test_only_time_and_arguments_can_be_changed_of_a_job_that_waits")),
    "S39": Case("a secret on any page, in any table, file or process", "nowhere", (
        SECRET, f"{REQUESTS}::test_what_a_form_carries_of_a_job_tells_nothing_of_its_secrets",
        "admin/test_secrets.py::test_the_report_of_an_error_on_the_page_does_not_have_it")),
    "S40": Case("a job that prints its secret, also in two writes", "masked before it is stored", (SECRET,)),
    "S41": Case("secrets without encryption", "refused", (
        "arguments/test_secret_arguments.py::test_without_the_extra_nothing_is_stored",
        "checks/test_checks.py::test_e008_secrets_without_the_extra")),
    "S42": Case("keys that changed", "old ones are read; a lost one is told, nothing runs", (
        "arguments/test_secret_arguments.py::test_after_a_rotation_old_secrets_are_still_read",
        "arguments/test_secret_arguments.py::test_a_wrong_key_asks_to_enter_it_again_and_never_gives_the_token")),
    "S43": Case("a flood of runs", "a limit for each person, told on the form", (
        "security/test_limit.py::test_as_many_as_are_allowed_start_and_the_next_is_refused_on_the_form",
        "security/test_limit.py::test_run_again_counts_too")),
    "S44": Case("a flood of polls", "two queries, no body", (
        f"{PAGES}::test_nothing_new_costs_one_query_of_ours_and_no_body",)),
    "S45": Case("deep pages, wide searches", "bounded", (
        "admin/test_list_pages.py::test_counts_and_pages_stop_at_the_cap",
        f"{REQUESTS}::test_a_page_far_beyond_the_last_is_answered")),
    "S46": Case("an export of many rows", "in pieces, with its own right, noted", (
        f"{REQUESTS}::test_a_download_comes_in_pieces_and_is_noted_with_who_took_it", MATRIX)),
    "S47": Case("a greedy job", "limits; the worker goes on", (
        "processes/test_endings.py::test_too_much_memory_is_the_jobs_failure",
        "processes/test_endings.py::test_the_time_limit_ends_a_job",
        "processes/test_story.py::test_a_hundred_megabytes_of_output_do_not_stop_the_worker",
        "processes/test_caps.py::test_what_is_beyond_a_cap_is_counted_and_not_kept")),
    "S48": Case("schedules that fire without end", "at most once a minute, after downtime a few times", (
        "schedules/test_cron.py::test_what_cannot_be_is_refused_with_the_field",
        "schedules/test_timetable.py::test_misfire_policies_against_their_definition")),
    "S49": Case("deleting the traces", "the record outlives user and job", (
        f"{REQUESTS}::test_the_record_outlives_user_and_job",
        "models/test_audit.py::test_an_entry_is_never_changed_and_never_deleted")),
    "S50": Case("blaming somebody else", "the door is on record", (
        f"{REQUESTS}::test_what_code_and_people_do_is_told_apart",)),
    "S51": Case("deleting running jobs", "refused", (
        f"{PAGES}::test_only_jobs_that_have_ended_can_be_deleted_and_it_is_written_down",
        "admin/test_bulk.py::test_unfinished_jobs_cannot_be_deleted_in_bulk")),
    "S52": Case("jobs as another user of the system", "there is no such option; a worker that runs as root says so", (
        "management/test_left_out.py::test_a_worker_that_runs_as_root_says_so",)),
    "S53": Case("jobs written into the table by hand", "cleaned as any other; beyond that the table is trusted", (
        "arguments/test_refused.py::test_what_somebody_planted_in_the_table_is_cleaned_again",
        f"{REQUESTS}::test_only_registered_names_are_job_types")),
    "S54": Case("scratch directories that others can read", "of the self-test alone, which takes it away", (
        "management/test_testworkers.py::test_every_promise_is_tested_and_nothing_else_is_touched",
        "management/test_testworkers.py::test_it_cleans_up_when_it_is_interrupted")),
    "S55": Case("webhooks to addresses inside", "refused, also by another name of them, or after a redirect", (
        "messages/test_webhook.py::test_a_private_address_is_refused_before_anything_is_sent",
        "messages/test_webhook.py::test_a_redirect_is_not_followed",
        "messages/test_webhook.py::test_the_checked_address_is_connected_to_and_no_name_is_looked_up_again",
        "messages/test_addresses.py::test_addresses_that_are_not_public_are_refused",
        "messages/test_addresses.py::test_other_ways_to_write_this_machine_are_refused_too")),
    "S56": Case("errors that tell too much", "a plain page; tracebacks with the right to the log only", (
        f"{REQUESTS}::test_an_error_of_the_server_tells_nothing_of_it",
        f"{REQUESTS}::test_who_may_not_see_the_log_gets_no_traceback_from_any_page")),
}  # fmt: skip
