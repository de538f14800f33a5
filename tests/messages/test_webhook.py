"""What arrives at a webhook, and what is said if it does not."""

import hashlib
import hmac
import socket
import ssl
import time

import pytest

from qorworker.exceptions import Undeliverable
from qorworker.messages import webhook
from qorworker.messages.rules import Webhook
from qorworker.messages.webhook import post

PAYLOAD = {"id": "abc", "job": {"title": "Größe"}}


def hook(receiver, **changes):
    return Webhook(**{"url": receiver.url, "secret": "hunter2", "private_addresses": True, **changes})


def test_a_message_arrives_as_signed_json(receiver):
    before = int(time.time())
    assert post(hook(receiver), PAYLOAD, "abc") == 200
    [(path, headers, body)] = receiver.got
    assert path == "/hook?team=1"
    assert receiver.payloads == [PAYLOAD]
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["X-QorWorker-Id"] == "abc"
    timestamp = headers["X-QorWorker-Timestamp"]
    assert before <= int(timestamp) <= time.time()
    expected = hmac.new(b"hunter2", timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-QorWorker-Signature"] == f"sha256={expected}"


def test_without_a_secret_nothing_is_signed(receiver):
    post(hook(receiver, secret=""), PAYLOAD, "abc")
    assert "X-QorWorker-Signature" not in receiver.got[0][1]


def test_a_private_address_is_refused_before_anything_is_sent(receiver):
    with pytest.raises(Undeliverable, match="not public"):
        post(hook(receiver, private_addresses=False), PAYLOAD, "abc")
    assert not receiver.got


def test_a_redirect_is_not_followed(receiver):
    receiver.answer = lambda number: (307, {"Location": receiver.url}, "")
    with pytest.raises(Undeliverable, match="redirects are not followed") as raised:
        post(hook(receiver), PAYLOAD, "abc")
    assert raised.value.code == 307
    assert len(receiver.got) == 1


def test_an_error_names_the_code_and_the_beginning_of_the_answer(receiver):
    receiver.answer = lambda number: (503, {}, "down\x1b[31m " + "x" * 5_000)
    with pytest.raises(Undeliverable) as raised:
        post(hook(receiver), PAYLOAD, "abc")
    assert raised.value.code == 503
    text = str(raised.value)
    assert text.startswith("127.0.0.1 answered with 503. down\\u001b[31m xxx")
    assert len(text) < 300
    assert "team" not in text


def test_a_receiver_that_is_not_there_or_says_nothing_sensible_is_undeliverable(receiver, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(webhook, "SECONDS", 0.2)
        with pytest.raises(Undeliverable, match="could not be reached: TimeoutError"):
            post(hook(receiver, url=url), PAYLOAD, "abc")
    with pytest.raises(Undeliverable, match="could not be reached: ConnectionRefusedError"):
        post(hook(receiver, url=url), PAYLOAD, "abc")


def test_the_checked_address_is_connected_to_and_no_name_is_looked_up_again(receiver, monkeypatch):
    asked = []
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *given, **more):
        asked.append(host)
        return real("127.0.0.1" if host == "hooks.example.com" else host, port, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert post(hook(receiver, url=f"http://hooks.example.com:{receiver.port}/"), PAYLOAD, "abc") == 200
    assert asked == ["hooks.example.com", "127.0.0.1"]
    assert receiver.got[0][1]["Host"] == f"hooks.example.com:{receiver.port}"


def test_tls_is_checked_for_the_name_and_not_for_the_address(receiver, monkeypatch):
    names = []

    def wrap_socket(context, plain, server_hostname):
        names.append((server_hostname, context.check_hostname, context.verify_mode))
        return plain

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap_socket)
    monkeypatch.setattr(webhook, "resolve", lambda host, port, private: ["127.0.0.1"])
    assert post(hook(receiver, url=f"https://hooks.example.com:{receiver.port}/"), PAYLOAD, "abc") == 200
    assert names == [("hooks.example.com", True, ssl.CERT_REQUIRED)]


def test_the_next_address_is_tried_if_one_does_not_answer(receiver, monkeypatch):
    monkeypatch.setattr(webhook, "resolve", lambda host, port, private: ["127.0.0.9", "127.0.0.1"])
    assert post(hook(receiver, url=f"http://hooks.example.com:{receiver.port}/"), PAYLOAD, "abc") == 200
