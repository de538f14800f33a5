"""Secret arguments: encrypted in the table, dots everywhere else, asked for again when they cannot be read."""

import json

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.test import override_settings

from qorworker import InvalidArguments, Secret, secrets
from qorworker.arguments import Arguments
from qorworker.exceptions import SecretsUnavailable

CANARY = "hunter2 and a half"


def handler(user: str, api_password: Secret[str] = ""):
    pass


class Login(forms.Form):
    user = forms.CharField()
    password = forms.CharField(widget=forms.PasswordInput)


def login(user, password):
    pass


@pytest.fixture
def arguments():
    return Arguments("t", handler)


@pytest.fixture
def stored(arguments):
    return arguments.dump(arguments.clean({"user": "ben", "api_password": CANARY}))


def test_the_handler_gets_a_secret_that_it_can_open(arguments, stored):
    loaded = arguments.load(stored)
    assert isinstance(loaded["api_password"], Secret)
    assert loaded["api_password"].get_secret_value() == CANARY


def test_a_secret_object_may_be_passed_too(arguments):
    cleaned = arguments.clean({"user": "ben", "api_password": Secret(CANARY)})
    assert arguments.load(arguments.dump(cleaned))["api_password"] == Secret(CANARY)


def test_the_table_never_holds_the_plain_text(stored):
    assert CANARY not in json.dumps(stored)
    assert list(stored["api_password"]) == ["$secret"]


def test_nobody_is_shown_the_secret(arguments, stored):
    shown = [arguments.summary(stored), repr(arguments.display(stored)), repr(arguments.initial(stored))]
    shown += [repr(arguments.load(stored)), str(arguments.clean({"user": "ben", "api_password": CANARY}))]
    assert CANARY not in " ".join(shown)
    assert "$secret" not in " ".join(shown)
    assert stored["api_password"]["$secret"] not in " ".join(shown)
    assert "api_password: ••••••" in arguments.summary(stored)
    assert "api_password" not in arguments.initial(stored)


def test_a_secret_is_masked_even_if_its_field_is_gone(stored):
    def renamed(user: str, password: Secret[str] = ""):
        pass

    shown = Arguments("t", renamed).display(stored)
    assert {one.name: one.text for one in shown} == {"user": "ben", "api_password": "••••••"}


def test_an_empty_secret_is_told_from_one_that_is_set(arguments):
    stored = arguments.dump(arguments.clean({"user": "ben"}))
    assert [one.text for one in arguments.display(stored)] == ["ben", "\u2013"]
    assert arguments.secret_values(stored) == []
    assert arguments.load(stored)["api_password"].get_secret_value() == ""


def test_the_worker_learns_which_texts_to_mask(arguments, stored):
    assert arguments.secret_values(stored) == [CANARY]


def test_the_form_never_renders_it_again(arguments):
    form = arguments.form_class({"user": "", "api_password": CANARY})
    assert not form.is_valid()
    assert CANARY not in form.as_p()
    assert 'autocomplete="new-password"' in form.as_p()


def test_a_password_input_of_a_given_form_is_a_secret(arguments):
    arguments = Arguments("t", login, Login)
    stored = arguments.dump(arguments.clean({"user": "ben", "password": CANARY}))
    assert CANARY not in json.dumps(stored)
    assert arguments.load(stored) == {"user": "ben", "password": Secret(CANARY)}
    assert "••••••" in arguments.summary(stored)


def test_an_error_message_that_quotes_the_secret_is_masked():
    class Strict(Login):
        def clean_password(self):
            raise ValidationError(f"“{self.cleaned_data['password']}” is too weak")

    with pytest.raises(InvalidArguments) as error:
        Arguments("t", login, Strict).clean({"user": "ben", "password": CANARY})
    assert error.value.errors == {"password": ["“••••••” is too weak"]}
    assert CANARY not in str(error.value)


def test_running_again_asks_for_the_secret(arguments, stored):
    with pytest.raises(InvalidArguments) as error:
        arguments.reuse(stored, {})
    assert list(error.value.errors) == ["api_password"]
    assert arguments.reuse(stored, {"api_password": "new"}) == {"user": "ben", "api_password": "new"}


def test_after_a_rotation_old_secrets_are_still_read(arguments):
    with override_settings(QORWORKER={"SECRET_KEYS": ["old"]}):
        stored = arguments.dump(arguments.clean({"user": "ben", "api_password": CANARY}))
    with override_settings(QORWORKER={"SECRET_KEYS": ["new", "old"]}):
        assert arguments.secret_values(stored) == [CANARY]
        again = arguments.dump(arguments.clean({"user": "ben", "api_password": CANARY}))
    with override_settings(QORWORKER={"SECRET_KEYS": ["new"]}):
        assert arguments.secret_values(again) == [CANARY]


def test_the_keys_come_from_the_secret_key_if_there_are_no_others(arguments):
    with override_settings(SECRET_KEY="one"):
        stored = arguments.dump(arguments.clean({"user": "ben", "api_password": CANARY}))
    with override_settings(SECRET_KEY="two", SECRET_KEY_FALLBACKS=["one"]):
        assert arguments.secret_values(stored) == [CANARY]


def test_a_wrong_key_asks_to_enter_it_again_and_never_gives_the_token(arguments, stored):
    with override_settings(SECRET_KEY="another"):
        for read in (arguments.load, arguments.secret_values):
            with pytest.raises(SecretsUnavailable) as error:
                read(stored)
            assert str(error.value) == (
                "The stored Api password cannot be decrypted with the current keys. Enter it again."
            )
        assert arguments.summary(stored) == "user: ben, api_password: ••••••"


def test_without_the_extra_nothing_is_stored(arguments, monkeypatch):
    monkeypatch.setattr(secrets, "available", lambda: False)
    with pytest.raises(SecretsUnavailable, match="pip install"):
        arguments.dump(arguments.clean({"user": "ben", "api_password": CANARY}))
