"""The value that shows itself to nobody, and its encryption."""

import copy
import json
import pickle
import traceback

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from qorworker import Secret
from qorworker.arguments import secrets
from qorworker.exceptions import SecretsUnavailable

CANARY = "hunter2"


def test_every_way_to_show_it_shows_dots():
    secret = Secret(CANARY)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r}",
        f"{secret:>20}",
        f"{secret:>9}",
        repr([secret]),
    ]
    assert not any(CANARY in text for text in shown)
    assert all("••••••" in text for text in shown)


def test_a_traceback_with_local_variables_shows_dots():
    secret = Secret(CANARY)
    try:
        raise ValueError(secret)
    except ValueError as error:
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(" in told
    assert CANARY not in told.replace('CANARY = "hunter2"', "").replace("CANARY = 'hunter2'", "")


def test_it_opens_itself_only_when_asked():
    assert Secret(CANARY).get_secret_value() == CANARY


def test_it_is_never_pickled_or_turned_into_json():
    with pytest.raises(TypeError):
        pickle.dumps(Secret(CANARY))
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))


def test_it_has_no_attribute_that_a_debug_page_could_list():
    with pytest.raises(TypeError):
        vars(Secret(CANARY))


def test_a_copy_is_the_same_secret():
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": secret})["a"] is secret


def test_secrets_compare_by_value_and_only_with_secrets():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_an_empty_secret_is_false():
    assert Secret("a")
    assert not Secret("")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_encrypted_can_be_decrypted(text):
    token = secrets.encrypt(text)
    assert secrets.decrypt(token) == text
    assert token.isascii()


def test_the_same_text_never_gives_the_same_token():
    assert secrets.encrypt(CANARY) != secrets.encrypt(CANARY)


@pytest.mark.parametrize("token", ["", "plain", "gAAAAA", "ä"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(SecretsUnavailable):
        secrets.decrypt(token)


def test_a_token_under_another_key_is_refused():
    with override_settings(QORWORKER={"SECRET_KEYS": ["one"]}):
        token = secrets.encrypt(CANARY)
    with override_settings(QORWORKER={"SECRET_KEYS": ["two"]}), pytest.raises(SecretsUnavailable) as error:
        secrets.decrypt(token)
    assert token not in str(error.value)


def test_the_newest_key_encrypts():
    with override_settings(QORWORKER={"SECRET_KEYS": ["new", "old"]}):
        token = secrets.encrypt(CANARY)
    with override_settings(QORWORKER={"SECRET_KEYS": ["new"]}):
        assert secrets.decrypt(token) == CANARY
