"""The rules of the setting MESSAGES: what is valid, what is said of mistakes, and what each rule covers."""

import datetime as dt

import pytest

from qorworker import conf
from qorworker.messages.rules import ENDS, EVENTS, Rule, problem, rules_of

RULE = {"name": "failures", "on": ["failed"], "mail": ["ops@example.com"]}
HOOK = {"url": "https://hooks.example.com/T0/verysecret", "secret": "hunter2"}


def changed(**changes):
    return [{**RULE, **changes}]


@pytest.mark.parametrize(
    "value",
    [
        [],
        [RULE],
        (RULE,),
        changed(on=list(ENDS), jobs=["shop.a"], groups=["Shop"], queues=["mail"]),
        changed(on=list(EVENTS), queues=["mail"], older_than=600, times=2.5, remind=dt.timedelta(hours=4)),
        [{"name": "approvals", "on": ["approval_wanted", "question_asked"], "deciders": True}],
        changed(quiet=3600),
        changed(quiet=dt.timedelta(hours=1)),
        changed(digest="daily", webhook=HOOK),
        changed(webhook=HOOK),
        [{"name": "only a hook", "on": ["done"], "webhook": {"url": "http://127.0.0.1:8080/", "format": "slack"}}],
        [RULE, {**RULE, "name": "others"}],
    ],
)
def test_valid_rules_are_accepted(value):
    assert problem(value) == ""
    assert len(rules_of(value)) == len(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (RULE, "list of rules"),
        ([[]], "a dict as rule 1"),
        ([RULE, {"on": ["failed"]}], "rule 2 one whose 'name'"),
        (changed(name=""), "'name'"),
        (changed(name="x" * 101), "'name'"),
        (changed(name="a\nb"), "'name'"),
        ([RULE, RULE], "'failures' like another"),
        (changed(event="failed"), "unknown key 'event'"),
        (changed(queue=["mail"]), "Did you mean"),
        (changed(on=[]), "'on' must be a list"),
        (changed(on="failed"), "'on' must be a list"),
        (changed(on=["fails"]), "unknown event 'fails'"),
        ([{"name": "a", "mail": ["ops@example.com"]}], "without 'on'"),
        ([{"name": "a", "on": ["done"]}], "without 'mail', 'users' or 'webhook'"),
        (changed(mail="ops@example.com"), "'mail' must be a list"),
        (changed(mail=["ops@example.com\nBcc: x@example.com"]), "'mail' must have addresses"),
        (changed(jobs="shop.a"), "'jobs' must be a list"),
        (changed(quiet=-1), "'quiet' must be seconds"),
        (changed(quiet="1h"), "'quiet' must be seconds"),
        (changed(quiet=True), "'quiet' must be seconds"),
        (changed(older_than=5), "'older_than', which says nothing without the event 'queue_older_than'"),
        (changed(times=2), "'times', which says nothing without"),
        (changed(remind=60), "'remind', which says nothing without the event 'approval_wanted' or 'question_asked'"),
        (changed(deciders=True), "'deciders', which says nothing without"),
        (changed(on=["queue_older_than"]), "without 'older_than'"),
        (changed(on=["queue_older_than"], older_than=0), "'older_than' must be seconds of at least 1"),
        (changed(on=["longer_than_usual"], times=1), "'times' must be a number of at least 1.1"),
        (changed(on=["approval_wanted"], remind=5), "'remind' must be seconds of at least 60"),
        (changed(on=["approval_wanted"], deciders="yes"), "'deciders' must be True or False"),
        (changed(on=["worker_gone", "failed"], jobs=["shop.a"]), "'jobs' and the event 'worker_gone'"),
        (changed(on=["queue_older_than"], older_than=9, groups=["a"]), "'groups' and the event 'queue_older_than'"),
        ([{"name": "a", "on": ["approval_wanted", "done"], "deciders": True}], "its messages about 'done'"),
        (changed(digest="weekly"), "'digest' must be one of 'hourly', 'daily'"),
        (changed(digest="hourly", quiet=60), "'quiet' and 'digest', which do not go together"),
        (changed(on=["approval_wanted"], digest="hourly", deciders=True), "'deciders' and 'digest'"),
        (changed(webhook="https://example.com"), "'webhook' must be a dict"),
        (changed(webhook={**HOOK, "token": "x"}), "unknown key 'token'"),
        (changed(webhook={**HOOK, "format": "teams"}), "'format' that must be one of"),
        (changed(webhook={"url": HOOK["url"]}), "'secret'"),
        (changed(webhook={**HOOK, "secret": b"x"}), "'secret'"),
        (changed(webhook={**HOOK, "private_addresses": 1}), "'private_addresses' that must be True or False"),
    ],
)
def test_a_mistake_is_named_with_its_rule_and_key(value, said, settings):
    assert said in problem(value)
    settings.QORWORKER = {"MESSAGES": value}
    [sentence] = conf.problems()
    assert sentence.startswith("QORWORKER['MESSAGES'] ")
    assert said in sentence
    assert not any(secret in sentence for secret in ("hunter2", "verysecret"))


@pytest.mark.parametrize(
    "url",
    [None, "", "example.com", "ftp://example.com/", "https://", "https://ann:pw@example.com/", "https://a.b/#c",
     "https://a.b:port/", "https://a.b/ c", "https://a.b/\r\nX: y", "file:///etc/passwd"],
)  # fmt: skip
def test_an_address_that_no_webhook_can_have_is_refused(url):
    assert "'url'" in problem(changed(webhook={**HOOK, "url": url}))


def test_a_rule_covers_the_jobs_that_match_all_of_its_lists():
    rule = Rule("a", frozenset({"done"}), jobs=frozenset({"shop.a"}), queues=frozenset({"mail", "default"}))
    assert rule.covers("shop.a", "", "mail")
    assert not rule.covers("shop.a", "", "slow")
    assert not rule.covers("shop.b", "", "mail")
    assert Rule("b", frozenset({"done"})).covers("any", "thing", "anywhere")
    assert not Rule("c", frozenset({"done"}), groups=frozenset({"Shop"})).covers("any", "thing", "anywhere")


def test_one_event_names_a_message_where_several_hold():
    rule = Rule("a", frozenset({"failed", "worker_lost"}))
    assert rule.event_among(frozenset({"failed", "worker_lost"})) == "worker_lost"
    assert rule.event_among(frozenset({"failed"})) == "failed"
    assert rule.event_among(frozenset({"done"})) == ""


def test_a_rule_does_not_show_its_webhook():
    [rule] = rules_of(changed(webhook=HOOK))
    assert not any(secret in repr(rule) for secret in ("hunter2", "verysecret"))


def test_those_who_decide_are_a_channel_only_where_something_is_to_be_decided():
    rule = Rule("a", frozenset({"approval_wanted", "failed"}), deciders=True)
    assert rule.channels("approval_wanted") == ["mail"]
    assert rule.channels("failed") == []
