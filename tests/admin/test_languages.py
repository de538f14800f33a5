"""Every page in every language: translated as a whole, its direction told, its layout in logical directions."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from posixpath import normpath

import polib
import pytest
from django.contrib import admin
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import override

import qorworker
from qorworker.admin import tokens
from qorworker.admin.jobs import bulk, tabs
from qorworker.admin.jobs.verbs import VERBS
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.messages.labels import LABELS
from qorworker.models import Job, Message, MessageRule, Preset, Worker
from tests.admin.support import BASE, STATES, in_state, page_of, text_of, user_with
from tests.admin.test_pages import full_job
from tests.test_locale import DJANGO, DJANGO_LOCALES, QUOTES, catalogue

pytestmark = [pytest.mark.django_db, pytest.mark.once]

RULES = BASE.replace("/job/", "/messagerule/")
JOBLESS = ("queue_older_than", "schedule_missed", "worker_gone", "test")
CODES = {name: name.replace("_", "-").lower() for name in QUOTES}  # as Django calls the language of a catalogue
BRACKETS = "ast"  # Asturian: a language for which Django has no formats of its own
SHOWN_ATTRIBUTES = ("title", "aria-label", "placeholder", "alt", "label")
NOT_READ = ("script", "style", "code", "pre")
NOT_SHOWN = ("data-qw-text",)  # what the catalogue is searched in
VOID = ("input", "meta", "link", "br", "hr", "img", "path", "col")
# Not ours to translate: names of formats, log levels and errors, what the tests made up, and one word of Django's.
KEPT = re.compile(
    r"\b(XLSX|CSV|JSON|Slack|debug|info|warning|error|KeyError|Local|sku|ValueError|srv/app|py|run|root|Search)\b"
)


@pytest.fixture
def speaks(visitor, settings):
    """The browser of a superuser asks for pages in this language."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]

    def speaks(code):
        visitor.defaults["HTTP_ACCEPT_LANGUAGE"] = code
        return visitor

    with override("en"):  # and what the middleware leaves behind is taken back
        yield speaks


@pytest.fixture
def in_brackets(tmp_path, settings):
    """A language in which every text of ours and of the admin is the English one in brackets."""
    made_up = polib.POFile()
    made_up.metadata = {"Content-Type": "text/plain; charset=utf-8", "Plural-Forms": "nplurals=2; plural=(n != 1);"}
    theirs = (polib.pofile(str(DJANGO / place / "en/LC_MESSAGES/django.po")) for place in DJANGO_LOCALES)
    entries = {(e.msgctxt, e.msgid): e for found in (*theirs, catalogue("de")) for e in found}
    for entry in entries.values():
        plural = {0: f"⟦{entry.msgid}⟧", 1: f"⟦{entry.msgid_plural}⟧"} if entry.msgid_plural else {}
        text = "" if plural else f"⟦{entry.msgid}⟧"
        made = {"msgctxt": entry.msgctxt, "msgid_plural": entry.msgid_plural, "msgstr_plural": plural}
        made_up.append(polib.POEntry(msgid=entry.msgid, msgstr=text, **made))
    folder = tmp_path / BRACKETS / "LC_MESSAGES"
    folder.mkdir(parents=True)
    made_up.save_as_mofile(str(folder / "django.mo"))
    settings.LOCALE_PATHS = [tmp_path]
    return BRACKETS


class Texts(HTMLParser):
    """What people read on a page: its text, and the attributes that are shown or read out."""

    def __init__(self, page):
        super().__init__()
        self.open, self.found, self.is_data = [], [""], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.is_data = tag == "script" and given.get("type") == "application/json"
        if tag not in VOID:
            self.open.append(tag)
        told = [given.get(name) for name in SHOWN_ATTRIBUTES if tag != "time"]
        told += [given.get("value")] if tag == "input" and given.get("type") in ("submit", "button") else []
        scripts = [text or "" for name, text in attributes if name.startswith("data-qw-") and name not in NOT_SHOWN]
        self.found += [text for text in told if text] + [text for text in scripts if " " in text]

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, text):
        if self.is_data:
            self.found += [text for text in flat(json.loads(text)) if isinstance(text, str)]
        if not any(tag in NOT_READ for tag in self.open) and text.strip():
            self.found[0] += f"{text.strip()}\n"


def flat(value):
    """What is in the lists and dicts of a JSON value."""
    if isinstance(value, dict | list):
        return [one for each in (value.values() if isinstance(value, dict) else value) for one in flat(each)]
    return [value]


def untranslated(page, data=()):
    """The parts of a page with words that are not in brackets."""
    left = set()
    for text in Texts(page).found:
        for known in sorted(filter(None, map(str, data)), key=len, reverse=True):
            text = text.replace(known, "")
        while text != (text := re.sub(r"⟦[^⟦⟧]*⟧", "", text)):
            pass
        left |= {part for part in KEPT.sub("", text).split("\n") if re.search(r"[^\W\d_]{2}", part)}
    return left


def data_of(types):
    """Texts that come from the project: titles, groups, descriptions, names and labels of its job types."""
    for job_type in types.values():
        yield from (job_type.title, job_type.name, job_type.group or "", *str(job_type.description or "").split("\n\n"))
        yield from (job_type.confirm or "", " ".join(str(job_type.description or "").split()))
        for name, field in job_type.arguments.fields.items():
            yield from (field.label or name.capitalize().replace("_", " "), name)
            yield from (label for _value, label in getattr(field, "choices", ()) if label)
    yield from (*registry.names(), *settings.QUEUES, "UTC", "Europe/Berlin")
    for model in admin.site._registry:
        if model._meta.app_label not in ("qorworker", "auth"):
            yield from (capfirst(model._meta.verbose_name_plural), model._meta.app_config.verbose_name)


def addresses(job, worker):
    """Every page of ours that can be asked for, whichever there will be."""
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label != "qorworker":
            continue
        pk = job.pk if model is Job else worker.pk
        values = {"pk": pk, "object_id": pk, "name": "tests.greet", "field": "shop", "token": "0" * 32, "number": 1}
        for pattern in model_admin.get_urls():
            if pattern.name is not None:
                yield reverse(f"admin:{pattern.name}", kwargs={key: values[key] for key in pattern.pattern.converters})


@pytest.fixture
def jobs(types, root):
    """One in each state, and one of which there is something of everything to tell; what was saved, too."""
    found = {state: in_state(types["greet"], state) for state in STATES}
    saved = {"job_name": "tests.greet", "name": "12", "arguments": {"subject": "12"}, "left_out": ["copies"]}
    Preset.objects.create(owner=root, **saved)
    Preset.objects.create(is_shared=True, **saved)
    tell(in_state(types["greet"], "done"))
    return {**found, "full": full_job(types["greet"], text="12")}


def tell(job):
    """A rule, and messages about the job and about everything else."""
    now = job.enqueued_at
    at = {"changed_at": now, "since": now}
    given = {"on": list(LABELS), "mail": ["12"], "older_than": 60, "quiet": 60}
    MessageRule.objects.create(name="12", given=given, host="12", **at)
    MessageRule.objects.create(name="13", given={"on": ["failed"], "digest": "daily", "deciders": True}, **at)
    facts = {**dict.fromkeys(("queue", "schedule", "worker"), "12"), "seconds": 90, "usual": 2, "attempt": 1,
             **dict.fromkeys(("seen_at", "at", "until"), now.isoformat()), "reason": "unfit"}  # fmt: skip
    one = {"facts": facts, "created_at": now}
    for state in ("waiting", "queued", "sent", "failed"):
        for event in (*LABELS, "test"):
            source, about = f"{state} {event}", None if event in JOBLESS else job
            Message.objects.create(rule="12", source=source, job=about, state=state, event=event, **one)
    for channel in ("mail", "note", "webhook"):
        Message.objects.create(source=channel, job=job, channel=channel, recipient="user:0", state="sent", **one)


def pages(browser, jobs):
    """What the browser sees at every address, and in each state of a job."""
    full, preset = jobs["full"], Preset.objects.exclude(owner=None).get()
    asked = list(addresses(full, Worker.objects.get()))
    asked += [page_of(job) for job in jobs.values()]
    asked += [f"{BASE}?tab={tab}" for tab in (*tabs.TABS, *tabs.MORE_TABS)]
    asked += [f"{BASE}?q={text}" for text in ("nothing", "nothing:12", "status:nothing")]
    asked += [f"{BASE}run/{name}/" for name in registry.names()]
    asked += [f"{BASE}run/tests.greet/?{given}" for given in (f"preset={preset.pk}", f"from={full.pk}", "nothing=12")]
    asked += [f"{BASE}catalogue/?view=table", f"{BASE}preset/{preset.pk}/delete/"]
    rule = MessageRule.objects.first().pk
    asked += [f"{BASE}../messagerule/{rule}/{page}/" for page in ("change", "delete")]
    asked += [f"{BASE}../message/?state={state}" for state in ("", "waiting", "queued", "sent", "failed")]
    for address in map(normalised, asked):
        yield address, browser.get(address)


def normalised(address):
    path, mark, query = address.partition("?")
    return f"{normpath(path)}/{mark}{query}" if ".." in path else address


def answers(browser, jobs):
    """What it sees after each button, whether that can be done or not, and where it is asked or refused."""
    yield "errors", browser.post(f"{BASE}run/tests.upload/", {"qw-when": "later"})
    given = {"on": [*LABELS], "jobs": ["tests.greet"], "digest": "daily", "quiet": 5}
    yield "rule", browser.post(f"{RULES}add/", given)
    yield "rule?", browser.post(f"{RULES}add/", {"name": "12", "on": ["done"], "mail": "12", "users": "12", "times": 9})
    yield "test", browser.post(f"{RULES}test/", {"qw-rule": "nothing"}, follow=True)
    yield "save", browser.post(f"{BASE}run/tests.greet/save/", {"subject": "12"})
    every = {"_selected_action": [job.pk for job in jobs.values()]}
    for action in (*bulk.BULK, "delete_selected"):
        yield f"{action}?", browser.post(BASE, {"action": action, **every})
    for state, job in jobs.items():
        for verb in VERBS:
            yield f"{verb} {state}?", browser.post(page_of(job, f"{verb}/"))
            answer = {"confirmed": "1", "qw-token": tokens.new_token(None)}
            yield f"{verb} {state}", browser.post(page_of(job, f"{verb}/"), answer, follow=True)
    browser.force_login(user_with("qorworker.view_job", name="root-2"))
    yield "denied", browser.post(page_of(jobs["full"], "retry/"))


def html_of(response):
    kind = response.headers.get("Content-Type", "")
    page = text_of(response) if kind.startswith("text/html") and not response.streaming else ""
    return page if "app-qorworker" in page else ""  # not the bare pages with which Django refuses


def test_every_text_of_every_page_can_be_translated(speaks, types, jobs, in_brackets):
    data = [*data_of(types), "12", "nothing"]
    left = {}
    seen = 0
    browser = speaks(in_brackets)
    for address, response in (*pages(browser, jobs), *answers(browser, jobs)):
        assert response.status_code < 500, address
        if page := html_of(response):
            seen += 1
            assert f'<html lang="{in_brackets}"' in page
            left |= dict.fromkeys(untranslated(page, data), address)
    assert "\n".join(f"{text!r} at {address}" for text, address in sorted(left.items())) == ""
    assert seen > 30


def test_a_text_that_nobody_translated_would_be_found():
    page = '<p title="Hidden">⟦All ⟦three⟧ done⟧ <b>⟦by <i>⟦root⟧</i>⟧</b> Plain 7 <code>code</code></p>'
    page += '<input placeholder="Type"><script type="application/json">{"a": ["⟦b⟧", "Script"]}</script>'
    assert untranslated(page) == {"Plain 7", "Hidden", "Type", "Script"}


@pytest.mark.parametrize("name", sorted(QUOTES))
def test_every_page_renders_in_every_language(speaks, jobs, name):
    seen = 0
    for address, response in pages(speaks(CODES[name]), jobs):
        assert response.status_code < 500, address
        if page := html_of(response):
            seen += 1
            assert f'<html lang="{CODES[name]}" dir="ltr"' in page
    assert seen > 30


@pytest.mark.parametrize("name", sorted(QUOTES))
def test_a_page_is_titled_in_the_language_of_the_browser(speaks, types, name):
    job = in_state(types["greet"], "running")
    titles = {
        "": (_, "Jobs"),
        "catalogue/": (_, "Run a job"),
        "run/tests.greet/": (lambda text: _(text) % "Send greetings", "Run “%s”"),
        f"{job.pk}/change/": (
            lambda text: text,
            f"Send greetings #{job.pk}",
        ),
        "../worker/": (_, "Workers"),
        "../message/": (_, "Messages"),
    }
    for end, (translated, text) in titles.items():
        page = text_of(speaks(CODES[name]).get(normpath(BASE + end) + "/"))
        with override(CODES[name]):
            assert f"<title>{translated(text)} |" in page
            assert re.search(rf"<h1[^>]*>{re.escape(translated(text))}</h1>", page)


def test_a_language_that_is_written_from_the_right_turns_the_page_around(speaks, jobs):
    for address, response in pages(speaks("ar"), jobs):
        assert response.status_code < 500, address
        if page := html_of(response):
            assert '<html lang="ar" dir="rtl"' in page
            assert "rtl.css" in page


def test_the_layout_knows_start_and_end_but_not_left_and_right():
    for style in (Path(qorworker.__file__).parent / "static/qorworker").glob("*.css"):
        rules = re.sub(r"/\*.*?\*/", "", style.read_text(), flags=re.DOTALL)
        assert not re.search(r"\b(left|right)\b", rules), style.name
        sides = re.findall(r"\b(?:margin|padding|inset):\s*[^\s;]+ ([^\s;]+) [^\s;]+ ([^\s;]+);", rules)
        assert [pair for pair in sides if len(set(pair)) > 1] == [], style.name
        assert not re.search(r"shadow:(\s*inset)?\s*-?[1-9]", rules), style.name  # a shadow to one side
