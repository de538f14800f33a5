import json
import sqlite3
from contextlib import suppress
from threading import Thread

import django
import pytest
from asgiref.sync import sync_to_async
from django.core.mail import EmailMessage, get_connection, mail_admins, send_mail
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.locmem import EmailBackend
from django.db import IntegrityError, close_old_connections, connection, connections, transaction
from django.db.backends.sqlite3 import base as sqlite
from django.test import override_settings

from example_project.newsletter.models import Subscriber
from qorworker import JobContext, Secret, job
from qorworker.definitions.registry import registry
from qorworker.exceptions import RehearsalRefused
from qorworker.execution import rehearsal
from qorworker.execution.execute import execute
from qorworker.execution.messages import Work
from qorworker.models import Job, Outcome
from qorworker.models.rehearsal import report_of
from tests.testapp.jobs import noop
from tests.testapp.models import Shop

ADMINS = ["ann@example.com"] if django.VERSION >= (6, 0) else [("Ann", "ann@example.com")]
pytestmark = pytest.mark.django_db(transaction=True)


class Rehearsed:
    """How a rehearsal has ended, and what it has found."""

    def __init__(self, ending, sent):
        self.ending, self.sent = ending, sent
        text = "".join(record[2] for record in sent if record[0] == "rehearsal")
        self.report = report_of(Job(rehearsal_report=text)) if text else None

    @property
    def counts(self):
        return {
            label.split(".")[-1]: tuple(counts.values()) for label, counts in self.report.counts.items()
        }  # fmt: skip

    @property
    def log(self):
        return [record[4] for record in self.sent if record[0] == "log"]


@pytest.fixture
def rehearse(own_types, monkeypatch, transactional_db):
    """``rehearse(function, atomic=True)``: a rehearsal in this process, which is given back after it."""
    begun = []

    class Rehearsal(rehearsal.Rehearsal):
        def begin(self):
            begun.append(self)
            super().begin()

    monkeypatch.setattr("qorworker.execution.execute.Rehearsal", Rehearsal)

    def rehearse(function, arguments=None, **options):
        if registry.find("test.rehearsed"):
            registry.unregister("test.rehearsed")
        job_type = job(name="test.rehearsed", dry_run=True, **options)(function)
        stored = json.dumps(job_type.arguments.dump(job_type.arguments.clean(arguments or {})))
        sent = []
        work = Work(7, "test.rehearsed", stored, 1, 1, "t", is_dry_run=True)
        try:
            ending = execute(work, sent.append, may_rehearse=True)
        finally:
            begun[-1].let_go()
        return Rehearsed(ending, sent)

    return rehearse


@pytest.fixture
def shops():
    return [Shop.objects.create(name=name) for name in ("Berlin", "Bremen", "Bonn")]


def names():
    return sorted(Shop.objects.values_list("name", flat=True))


def run_sql(*statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def refused(rehearsed):
    """The text with which a rehearsal was refused: it has failed, and its report says why, too."""
    assert rehearsed.ending.outcome == Outcome.FAILED
    assert rehearsed.ending.error.startswith("RehearsalRefused: "), rehearsed.ending.error
    text = rehearsed.ending.error.removeprefix("RehearsalRefused: ")
    assert rehearsed.report.refusals[0] == text
    return text


def change_everything():
    Shop.objects.create(name="Trier")
    berlin = Shop.objects.get(name="Berlin")
    berlin.name = "BERLIN"
    berlin.save()
    Shop.objects.get(name="Bonn").delete()


class TestWhatItShows:
    def test_rows_by_model_with_samples_before_and_after(self, rehearse, shops):
        found = rehearse(change_everything)

        assert found.ending.outcome == Outcome.DONE
        assert found.counts == {"Shop": (1, 1, 1)}
        samples = {sample.kind: sample for sample in found.report.samples["testapp.Shop"]}
        assert samples["created"].after["name"] == "Trier"
        assert (samples["changed"].before, samples["changed"].after) == ({"name": "Berlin"}, {"name": "BERLIN"})
        assert samples["deleted"].before == {"id": str(shops[2].pk), "name": "Bonn"}
        assert names() == ["Berlin", "Bonn", "Bremen"]

    def test_bulk_operations_and_raw_sql_are_counted_by_table(self, rehearse, shops):
        def handler():
            Shop.objects.bulk_create([Shop(name="a"), Shop(name="b")])
            Shop.objects.update(name="x")
            run_sql("DELETE FROM testapp_shop WHERE name = 'x'", "INSERT INTO testapp_shop (name) VALUES ('raw')")

        found = rehearse(handler)

        assert found.counts == {"Shop": (3, 5, 5)}
        assert found.report.samples == {}
        statements = {(each["kind"], each["table"]): each["number"] for each in found.report.statements}
        assert statements["DELETE", "testapp_shop"] == 1
        assert names() == ["Berlin", "Bonn", "Bremen"]

    def test_at_most_five_samples_of_a_model_are_kept(self, rehearse):
        def handler():
            for number in range(20):
                Shop.objects.create(name=f"{number}")
            for shop in Shop.objects.all()[10:]:
                shop.delete()

        found = rehearse(handler)

        assert found.counts == {"Shop": (20, 0, 10)}
        assert [each.kind for each in found.report.samples["testapp.Shop"]] == ["created"] * 3 + ["deleted"] * 2

    def test_what_a_savepoint_takes_back_is_not_shown(self, rehearse, shops):
        def handler():
            with transaction.atomic():
                Shop.objects.create(name="kept")
                try:
                    with transaction.atomic():
                        Shop.objects.create(name="gone")
                        raise KeyError
                except KeyError:
                    pass
            try:
                with transaction.atomic():
                    Shop.objects.all().delete()
                    raise KeyError
            except KeyError:
                pass

        found = rehearse(handler)

        assert found.counts == {"Shop": (1, 0, 0)}
        assert [each.after["name"] for each in found.report.samples["testapp.Shop"]] == ["kept"]

    def test_secrets_of_the_job_and_fields_with_secret_names_are_masked(self, rehearse, django_user_model):
        def handler(key: Secret[str]):
            django_user_model.objects.create_user("ann", password="x", email=f"{key.get_secret_value()}@example.com")
            send_mail(f"Key {key.get_secret_value()}", key.get_secret_value(), None, ["a@example.com"])

        found = rehearse(handler, {"key": "hunter22"})

        (sample,) = next(iter(found.report.samples.values()))
        assert sample.after["password"] == "••••••"
        assert sample.after["email"] == "••••••@example.com"
        assert found.report.mails[0]["subject"] == "Key ••••••"
        assert "hunter22" not in json.dumps(found.sent)

    def test_long_values_are_cut_and_the_report_is_bounded(self, rehearse):
        def handler():
            for number in range(30):
                send_mail("s" * 5000, "b" * 50_000, None, [f"{number}@example.com"])

        found = rehearse(handler)

        assert (found.report.mails_count, len(found.report.mails)) == (30, 20)
        assert len(found.report.mails[0]["body"]) == 2000
        assert len(found.report.mails[0]["subject"]) == 200

    def test_jobs_that_it_enqueues_are_listed_and_not_stored(self, rehearse):
        def handler():
            noop.enqueue()
            noop.enqueue_many([{}, {}])

        found = rehearse(handler)

        assert found.report.jobs == {"testapp.noop": 3}
        assert not Job.objects.exists()
        assert found.counts == {}

    def test_a_failure_shows_what_it_came_to(self, rehearse):
        def handler():
            Shop.objects.create(name="Trier")
            raise KeyError("sku")

        found = rehearse(handler)

        assert found.ending.error == "KeyError: 'sku'"
        assert found.counts == {"Shop": (1, 0, 0)}
        assert names() == []


class TestMail:
    @override_settings(ADMINS=ADMINS)
    @pytest.mark.parametrize(
        "way",
        [
            lambda: send_mail("Tea", "…", "a@example.com", ["b@example.com"]),
            lambda: mail_admins("Tea", "…"),
            lambda: EmailMessage("Tea", "…", to=["b@example.com"]).send(),
            lambda: get_connection().send_messages([EmailMessage("Tea", "…", to=["b@example.com"])]),
            lambda: EmailBackend().send_messages([EmailMessage("Tea", "…", to=["b@example.com"])]),
            lambda: send_through_server(),
        ],
    )
    def test_every_way_is_caught(self, rehearse, way, mailoutbox):
        found = rehearse(way)

        assert found.ending.outcome == Outcome.DONE, found.ending.traceback
        assert (found.report.mails_count, found.report.mails[0]["subject"].removeprefix("[Django] ")) == (1, "Tea")
        assert not mailoutbox

    def test_a_backend_that_is_none_of_django_is_caught_with_the_message(self, rehearse, mailoutbox):
        class Odd:
            def send_messages(self, messages):
                raise AssertionError

        def handler():
            message = EmailMessage("Tea", "…", to=["b@example.com"])
            message.connection = Odd()
            message.send()

        assert rehearse(handler).report.mails_count == 1

    def test_a_thread_sends_nothing_either(self, rehearse, mailoutbox):
        def handler():
            thread = Thread(target=send_mail, args=("Tea", "…", None, ["b@example.com"]))
            thread.start()
            thread.join()

        assert rehearse(handler).report.mails_count == 1
        assert not mailoutbox

    def test_a_mail_without_recipients_is_none(self, rehearse):
        assert rehearse(lambda: EmailMessage("Tea", "…").send()).report.mails_count == 0


class Server(BaseEmailBackend):
    """A backend that keeps a connection open, and must not even open it."""

    def open(self):
        raise AssertionError

    def send_messages(self, messages):
        raise AssertionError


def send_through_server():
    with Server() as server:
        server.send_messages([EmailMessage("Tea", "…", to=["b@example.com"])])


class TestItBehavesAsARun:
    def test_a_constraint_that_fails_leaves_the_rest(self, rehearse):
        def handler():
            Subscriber.objects.create(email="a@example.com", name="a")
            with suppress(IntegrityError):
                Subscriber.objects.create(email="a@example.com", name="b")
            Subscriber.objects.create(email="c@example.com", name="c")
            assert Subscriber.objects.count() == 2

        found = rehearse(handler)

        assert found.ending.outcome == Outcome.DONE, found.ending.traceback
        assert found.counts == {"Subscriber": (2, 0, 0)}

    def test_a_transaction_of_the_job_is_rolled_back_by_itself(self, rehearse, shops):
        def handler():
            with suppress(KeyError), transaction.atomic():
                Shop.objects.all().delete()
                raise KeyError
            assert Shop.objects.count() == 3

        found = rehearse(handler)
        assert (found.ending.outcome, found.counts) == (Outcome.DONE, {})

    def test_a_lock_needs_a_transaction(self, rehearse, shops):
        def handler():
            with transaction.atomic():
                list(Shop.objects.select_for_update())

        assert rehearse(handler).ending.outcome == Outcome.DONE

    def test_a_durable_block_is_possible(self, rehearse):
        def handler():
            with transaction.atomic(durable=True):
                Shop.objects.create(name="Trier")

        assert rehearse(handler).counts == {"Shop": (1, 0, 0)}
        assert names() == []

    def test_rows_are_read_while_others_are_written(self, rehearse):
        def handler():
            for number in range(50):
                Shop.objects.create(name=f"{number:02}")
            for shop in Shop.objects.order_by("name").iterator(chunk_size=10):
                with transaction.atomic():
                    shop.name += "!"
                    shop.save()
            assert Shop.objects.filter(name__endswith="!").count() == 50

        assert rehearse(handler).ending.outcome == Outcome.DONE

    @pytest.mark.parametrize("atomic", [True, "chunk"])
    def test_atomic_types_and_loops(self, rehearse, shops, atomic):
        def handler(context: JobContext):
            for shop in context.iterate(Shop.objects.all(), chunk=2):
                shop.name += "!"
                shop.save()

        if atomic is True:

            def handler(context: JobContext):  # fmt: skip
                Shop.objects.update(name="x")

        found = rehearse(handler, atomic=atomic)

        assert (found.ending.outcome, found.ending.committed) == (Outcome.DONE, False), found.ending.traceback
        assert found.counts == {"Shop": (0, 3, 0)}
        assert names() == ["Berlin", "Bonn", "Bremen"]

    def test_a_question_gets_its_default_or_is_refused(self, rehearse):
        def with_default(context: JobContext):
            return context.ask("Go on?", go=bool, default={"go": True}).go

        def without(context: JobContext):
            context.ask("Go on?", go=bool)

        assert ["return", 7, "true"] in rehearse(with_default).sent
        assert "asks nobody" in rehearse(without).ending.error

    def test_the_context_says_that_it_is_one(self, rehearse, run):
        def handler(context: JobContext):
            return context.is_dry_run

        assert ["return", 7, "true"] in rehearse(handler).sent
        assert ["return", 7, "false"] in run(handler)[1]

    def test_a_coroutine(self, rehearse, shops):
        async def handler():
            await Shop.objects.acreate(name="Trier")
            await sync_to_async(change_everything)()

        found = rehearse(handler)

        assert found.ending.outcome == Outcome.DONE, found.ending.traceback
        assert found.counts == {"Shop": (2, 1, 1)}
        assert names() == ["Berlin", "Bonn", "Bremen"]


class TestNothingEscapes:
    def check(self, rehearse, handler, **options):
        found = rehearse(handler, **options)
        connections.close_all()
        assert names() == ["Berlin", "Bonn", "Bremen"]
        return found

    def test_hooks_are_counted_and_not_run(self, rehearse, shops):
        def handler():
            transaction.on_commit(lambda: 1 / 0)
            with transaction.atomic():
                transaction.on_commit(lambda: 1 / 0)
                with suppress(KeyError), transaction.atomic():
                    transaction.on_commit(lambda: 1 / 0)
                    raise KeyError
            with suppress(KeyError), transaction.atomic():
                transaction.on_commit(lambda: 1 / 0)
                raise KeyError

        assert self.check(rehearse, handler).report.hooks == 2

    def test_commit_and_rollback_by_hand(self, rehearse, shops):
        def handler():
            transaction.set_autocommit(False)
            Shop.objects.create(name="one")
            transaction.commit()
            Shop.objects.create(name="two")
            transaction.rollback()
            Shop.objects.create(name="three")
            transaction.commit()
            transaction.set_autocommit(True)
            Shop.objects.create(name="four")

        found = self.check(rehearse, handler)
        assert found.ending.outcome == Outcome.DONE, found.ending.traceback
        assert found.counts == {"Shop": (3, 0, 0)}

    def test_a_transaction_that_stays_open(self, rehearse, shops):
        def handler():
            transaction.set_autocommit(False)
            Shop.objects.create(name="one")

        self.check(rehearse, handler)

    def test_closing_the_connection_changes_nothing(self, rehearse, shops):
        def handler():
            Shop.objects.create(name="one")
            connection.close()
            connections.close_all()
            close_old_connections()
            Shop.objects.create(name="two")
            assert Shop.objects.count() == 5

        found = self.check(rehearse, handler)
        assert (found.ending.outcome, found.counts) == (Outcome.DONE, {"Shop": (2, 0, 0)})

    def test_connecting_anew_is_refused(self, rehearse, shops):
        def handler():
            Shop.objects.create(name="one")
            connection.connect()
            Shop.objects.create(name="two")

        assert "connection.connect()" in refused(self.check(rehearse, handler))

    @pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "BEGIN", "/* x */ commit", "SELECT 1; COMMIT"])
    @pytest.mark.parametrize("is_suppressed", [False, True])
    def test_ending_the_transaction_by_sql_is_refused(self, rehearse, shops, statement, is_suppressed):
        def handler():
            Shop.objects.create(name="one")
            try:
                run_sql(statement)
            except RehearsalRefused:
                if not is_suppressed:
                    raise
            Shop.objects.create(name="two")

        text = refused(self.check(rehearse, handler))
        assert text.startswith("The statement “")
        assert text.endswith("on the database “default” cannot be rehearsed: no rollback takes it back.")

    @pytest.mark.only_on("mysql")
    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TABLE qw_x (y int)", "ALTER TABLE testapp_shop COMMENT 'x'", "DROP TABLE IF EXISTS qw_x",
            "TRUNCATE testapp_shop", "LOCK TABLES testapp_shop WRITE", "SET autocommit=1", "START TRANSACTION",
        ],
    )  # fmt: skip
    def test_ddl_of_mariadb_is_refused(self, rehearse, shops, statement):
        def handler():
            Shop.objects.create(name="one")
            run_sql(statement)

        refused(self.check(rehearse, handler))

    @pytest.mark.only_on("mysql")
    @pytest.mark.parametrize("way", ["commit", "query", "procedure"])
    def test_mariadb_itself_refuses_what_goes_around_django(self, rehearse, shops, way):
        run_sql("DROP PROCEDURE IF EXISTS qw_commits", "CREATE PROCEDURE qw_commits() COMMIT")

        def handler():
            Shop.objects.create(name="one")
            raw = connection.connection
            ways = {
                "commit": raw.commit,
                "query": lambda: raw.cursor().execute("COMMIT"),
                "procedure": lambda: raw.cursor().callproc("qw_commits"),
            }
            with pytest.raises(connection.Database.Error, match="XAER_RMFAIL"):
                ways[way]()

        try:
            self.check(rehearse, handler)
        finally:
            run_sql("DROP PROCEDURE qw_commits")

    @pytest.mark.only_on("mysql")
    def test_a_table_without_transactions_is_refused(self, rehearse, shops):
        run_sql("DROP TABLE IF EXISTS qw_aria", "CREATE TABLE qw_aria (x int) ENGINE=MyISAM")

        def handler():
            run_sql("INSERT INTO `qw_aria` VALUES (1)")

        try:
            assert "“qw_aria”" in refused(self.check(rehearse, handler))
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM qw_aria")
                assert cursor.fetchone() == (0,)
        finally:
            run_sql("DROP TABLE qw_aria")

    @pytest.mark.only_on("postgresql", "sqlite")
    def test_ddl_is_rolled_back_where_that_is_possible(self, rehearse, shops):
        def handler():
            run_sql("CREATE TABLE qw_x (y int)", "INSERT INTO qw_x VALUES (1)", "ALTER TABLE testapp_shop ADD z int")

        found = self.check(rehearse, handler)
        assert found.ending.outcome == Outcome.DONE, found.ending.traceback
        assert "qw_x" not in connection.introspection.table_names()

    @pytest.mark.only_on("sqlite")
    @pytest.mark.parametrize(
        "statement", ["COMMIT", "ATTACH ':memory:' AS x", "PRAGMA user_version = 7", "SAVEPOINT a; "]
    )
    def test_sqlite_itself_refuses_what_goes_around_django(self, rehearse, shops, statement):
        def handler():
            connection.ensure_connection()
            with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
                connection.connection.execute(statement)
            with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
                connection.connection.execute("DELETE FROM testapp_shop")

        self.check(rehearse, handler)

    @pytest.mark.only_on("sqlite")
    def test_a_transaction_that_sqlite_ends_itself_is_noticed(self, rehearse, shops):
        def handler():
            Shop.objects.create(name="one")
            with pytest.raises(IntegrityError):
                run_sql(f"INSERT OR ROLLBACK INTO testapp_shop (id, name) VALUES ({shops[0].pk}, 'x')")
            Shop.objects.create(name="two")

        assert "is over" in refused(self.check(rehearse, handler))

    @pytest.mark.only_on("postgresql")
    @pytest.mark.parametrize("verb", ["commit", "rollback"])
    def test_the_verbs_of_psycopg_are_refused(self, rehearse, shops, verb):
        def handler():
            Shop.objects.create(name="one")
            getattr(connection.connection, verb)()

        assert f"connection.connection.{verb}()" in refused(self.check(rehearse, handler))

    @pytest.mark.only_on("postgresql")
    def test_a_procedure_that_commits_fails(self, rehearse, shops):
        def handler():
            Shop.objects.create(name="one")
            run_sql("DO $$ BEGIN DELETE FROM testapp_shop; COMMIT; END $$")

        assert self.check(rehearse, handler).ending.outcome == Outcome.FAILED

    @pytest.mark.parametrize("way", ["create_connection", "thread", "copy", "delete"])
    def test_a_second_connection_is_refused(self, rehearse, shops, way):
        def write(other):
            with other.cursor() as cursor:
                cursor.execute("DELETE FROM testapp_shop")

        def handler():
            Shop.objects.count()
            try:
                if way == "create_connection":
                    write(connections.create_connection("default"))
                elif way == "copy":
                    write(connection.copy())
                elif way == "delete":
                    del connections["default"]
                    write(connections["default"])
                else:
                    thread = Thread(target=lambda: suppressed(lambda: write(connections["default"])))
                    thread.start()
                    thread.join()
            except RehearsalRefused:
                pass

        assert "second connection to the database “default”" in refused(self.check(rehearse, handler))

    def test_another_alias_is_rolled_back_too(self, rehearse, shops, tmp_path):
        file = tmp_path / "other.sqlite3"
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE things (x int)")
        # Tests may only use the databases of their settings, and connections that were made dynamically.
        settings = connections.configure_settings({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": file}})
        connections["other"] = sqlite.DatabaseWrapper(settings["default"], "other")

        def handler():
            Shop.objects.create(name="one")
            with connections["other"].cursor() as cursor:
                cursor.execute("INSERT INTO things VALUES (1), (2)")
            with transaction.atomic(using="other"), connections["other"].cursor() as cursor:
                cursor.execute("INSERT INTO things VALUES (3)")

        try:
            found = self.check(rehearse, handler)
        finally:
            del connections["other"]
        assert found.ending.outcome == Outcome.DONE, found.ending.traceback
        assert found.counts == {"Shop": (1, 0, 0), "things": (3, 0, 0)}
        with sqlite3.connect(file) as other:
            assert other.execute("SELECT count(*) FROM things").fetchone() == (0,)


def suppressed(call):
    with suppress(RehearsalRefused):
        call()


class TestWhereItCanRun:
    def test_not_in_a_process_that_goes_on(self, own_types, transactional_db, shops):
        @job(name="test.rehearsed", dry_run=True)
        def handler():
            Shop.objects.all().delete()

        work = Work(7, "test.rehearsed", "{}", 1, 1, "t", is_dry_run=True)
        ending = execute(work, lambda record: None)

        assert (ending.outcome, ending.error) == (
            Outcome.REFUSED, "Here this job cannot be rehearsed. It was not started."
        )  # fmt: skip
        assert len(names()) == 3

    def test_not_if_its_type_allows_it_no_more(self, own_types, transactional_db, shops):
        @job(name="test.rehearsed")
        def handler():
            Shop.objects.all().delete()

        work = Work(7, "test.rehearsed", "{}", 1, 1, "t", is_dry_run=True)
        assert execute(work, lambda record: None, may_rehearse=True).outcome == Outcome.REFUSED
        assert len(names()) == 3
