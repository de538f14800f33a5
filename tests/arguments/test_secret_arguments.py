"""Secret arguments: encrypted in the table, dots everywhere else, asked for again when they cannot be read."""

import json
import traceback
from typing import Annotated, Any

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.test import override_settings

from qorworker import Arg, InvalidArguments, Secret
from qorworker.arguments import Arguments, codec, secrets, shown
from qorworker.arguments.fields import ListField, SecretField
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


def plain(note: str = "", notes: list[str] = ()):
    pass


class Note(forms.Form):
    note = forms.CharField()


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (Arguments("t", plain), {"note": Secret(CANARY)}),
        (Arguments("t", plain), {"notes": [Secret(CANARY)]}),
        (Arguments("t", lambda note: None, Note), {"note": Secret(CANARY)}),
    ],
)
def test_a_secret_object_is_refused_where_it_would_be_stored_in_clear_text(arguments, given):
    assert arguments.dump_plain([given]) is None
    with pytest.raises(InvalidArguments) as error:
        arguments.clean(given)
    assert error.value.errors == {name: ["This must be a text, not Secret."] for name in given}


def test_the_table_never_holds_the_plain_text(stored):
    assert CANARY not in json.dumps(stored)
    assert list(stored["api_password"]) == ["$secret"]


def test_nobody_is_shown_the_secret(arguments, stored):
    texts = [arguments.summary(stored), repr(arguments.display(stored)), repr(arguments.initial(stored))]
    texts += [repr(arguments.load(stored)), str(arguments.clean({"user": "ben", "api_password": CANARY}))]
    assert CANARY not in " ".join(texts)
    assert "$secret" not in " ".join(texts)
    assert stored["api_password"]["$secret"] not in " ".join(texts)
    assert "Api password: ••••••" in arguments.summary(stored)
    assert "api_password" not in arguments.initial(stored)


def test_a_secret_is_masked_even_if_its_field_is_gone(stored):
    def renamed(user: str, password: Secret[str] = ""):
        pass

    found = Arguments("t", renamed).display(stored)
    assert {one.name: one.text for one in found} == {"user": "ben", "api_password": "••••••"}


@pytest.mark.parametrize("field", [forms.CharField(), forms.IntegerField(), None, forms.JSONField()])
def test_a_secret_is_erased_even_if_its_field_has_become_another_one(stored, field):
    known = {"user": forms.CharField(), **({"api_password": field} if field else {})}
    left = codec.without_secrets(known, stored)
    assert left == {**stored, "api_password": {"$secret": None}}
    takes_json = isinstance(field, forms.JSONField)  # of which what is left may have been typed
    assert codec.erased_names(known, left) == ([] if takes_json else ["api_password"])


@pytest.mark.parametrize("typed", ["gAAAAA", None, "", 7])
def test_json_that_only_looks_like_a_secret_is_not_erased(typed):
    stored = {"note": {"$secret": typed}}
    assert codec.without_secrets({"note": forms.JSONField()}, stored) == stored


@pytest.mark.parametrize("field", [forms.IntegerField, forms.DateField, forms.UUIDField, forms.JSONField])
def test_a_password_input_for_anything_but_text_is_a_problem(field):
    made = type("Pin", (forms.Form,), {"pin": field(widget=forms.PasswordInput)})
    assert "always a text" in Arguments("t", lambda pin: None, made).problems()["pin"]


class NameAndPassword(forms.MultiWidget):
    def __init__(self):
        super().__init__([forms.TextInput, forms.PasswordInput])

    def decompress(self, value):
        return value or ["", ""]


class LoginField(forms.MultiValueField):
    def __init__(self, password, **options):
        super().__init__((forms.CharField(), password), **options)

    def compress(self, values):
        return ":".join(values)


@pytest.mark.parametrize(
    "field",
    [
        LoginField(forms.CharField(), widget=NameAndPassword),
        LoginField(SecretField(), widget=forms.TextInput),
        ListField(item=forms.CharField(widget=forms.PasswordInput)),
    ],
)
def test_a_password_beside_something_else_in_one_argument_is_a_problem(field):
    """Only a secret that is an argument of its own can be encrypted."""
    made = type("SignIn", (forms.Form,), {"login": field})
    assert "always a text" in Arguments("t", lambda login: None, made).problems()["login"]


class OwnPassword(forms.TextInput):
    input_type = "password"


class Hidden(forms.MultiWidget):
    def __init__(self):
        super().__init__([forms.PasswordInput(render_value=True)])

    def decompress(self, value):
        return [value]

    def value_from_datadict(self, data, files, name):
        return super().value_from_datadict(data, files, name)[0]


PASSWORDS = [OwnPassword, OwnPassword(), forms.TextInput(attrs={"type": "password"}), Hidden(), Hidden]


@pytest.mark.parametrize("widget", PASSWORDS)
def test_every_input_that_browsers_show_as_dots_makes_a_secret(widget):
    def sign_in(password: Annotated[str, Arg(widget=widget)]):
        pass

    form = type("SignIn", (forms.Form,), {"password": forms.CharField(widget=widget)})
    for arguments in (Arguments("t", sign_in), Arguments("t", sign_in, form)):
        stored = arguments.dump(arguments.clean({"password": CANARY}))
        assert CANARY not in json.dumps(stored)
        assert arguments.summary(stored) == "Password: ••••••"


@pytest.mark.parametrize("widget", PASSWORDS)
def test_every_input_that_browsers_show_as_dots_is_a_problem_for_anything_but_text(widget):
    def enter(pin: Annotated[int, Arg(widget=widget)]):
        pass

    assert "always a text" in Arguments("t", enter).problems()["pin"]


def test_a_password_input_for_a_number_in_the_signature_is_a_problem():
    def enter(pin: Annotated[int, Arg(widget=forms.PasswordInput)]):
        pass

    assert "always a text" in Arguments("t", enter).problems()["pin"]


def test_a_secret_to_choose_is_a_problem():
    def choose(key: Annotated[Secret[str], Arg(choices=["one", "two"])]):
        pass

    assert "choices" in Arguments("t", choose).problems()["key"]


@pytest.mark.parametrize("typed", [
    {"$secret": ""}, {"$secret": "typed"}, {"$secret": None}, {"$secret": "", "order": "delete"},
    {"$file": "x", "y": 1}, [{"$secret": "", "order": "delete"}],
    {"deep": {"$model": "auth.user", "pk": 1, "order": "delete"}},
])  # fmt: skip
def test_json_that_looks_like_a_secret_hides_nothing(typed):
    def order(what: Any):
        pass

    arguments = Arguments("t", order)
    stored = arguments.dump(arguments.clean({"what": typed}))
    (one,) = arguments.display(stored)
    assert (one.kind, json.loads(one.text)) == ("json", typed)
    assert shown.masked(arguments.fields, stored) == {"what": typed}


def test_a_secret_whose_field_takes_json_now_stays_masked(stored):
    def changed(user: str, api_password: Any = None):
        pass

    now = Arguments("t", changed)
    assert [one.text for one in now.display(stored)] == ["ben", "••••••"]
    assert shown.masked(now.fields, stored) == {"user": "ben", "api_password": "••••••"}
    assert now.initial(stored) == {"user": "ben"}
    with pytest.raises(InvalidArguments, match="api_password: Secrets are not copied"):
        now.reuse(stored, {})
    assert now.reuse({"user": "ben", "api_password": {"$secret": "typed"}}, {})["api_password"] == {"$secret": "typed"}


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


def test_a_rule_that_quotes_a_secret_of_a_whole_form_is_masked():
    arguments = Arguments("t", lambda arguments: None, Login)
    stored = arguments.dump(arguments.clean({"user": "ben", "password": CANARY}))
    with pytest.raises(InvalidArguments) as error:
        arguments.ask(lambda given: {}[given["arguments"]["password"].get_secret_value()], stored, "Failed: %s")
    assert CANARY not in str(error.value.errors)
    assert "••••••" in str(error.value.errors)


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
        assert arguments.summary(stored) == "User: ben, Api password: ••••••"


def test_without_the_extra_nothing_is_stored(arguments, monkeypatch):
    monkeypatch.setattr(secrets, "available", lambda: False)
    with pytest.raises(SecretsUnavailable, match="pip install"):
        arguments.dump(arguments.clean({"user": "ben", "api_password": CANARY}))


def refuse(value):
    raise forms.ValidationError(f"{value} is no good")


@pytest.mark.parametrize("way", ["clean", "load"])
def test_no_error_quotes_a_default(way):
    def log_in(password: Annotated[Secret[str], Arg(validators=[refuse])] = "c4n4ry"): ...

    with pytest.raises(InvalidArguments) as caught:
        getattr(Arguments("app.log_in", log_in), way)({})
    assert caught.value.errors == {"password": ["•••••• is no good"]}


def test_no_error_of_a_rule_quotes_a_default():
    def log_in(password: Secret[str] = "c4n4ry"): ...

    def rule(arguments):
        raise RuntimeError(arguments["password"].get_secret_value())

    with pytest.raises(InvalidArguments) as caught:
        Arguments("app.log_in", log_in).ask(rule, {}, "no key: %s")
    assert caught.value.errors == {"__all__": ["no key: RuntimeError: ••••••"]}
    assert "c4n4ry" not in "".join(traceback.format_exception(caught.value))
