"""Posts a signed message to a webhook: one request to an address that was checked, without redirects. Pure."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from qorworker.exceptions import Undeliverable
from qorworker.messages.addresses import resolve
from qorworker.messages.rules import Webhook
from qorworker.text.cleaning import visible

SECONDS = 10.0  # for the connection, and for each read and write
KEPT_CHARS = 200  # of an answer
KEPT_BYTES = 4 * KEPT_CHARS  # what these characters may take
PORTS = {"http": 80, "https": 443}


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what the header ``X-QorWorker-Signature`` has for *body*, sent at *timestamp*.

    :param timestamp: the header ``X-QorWorker-Timestamp``: seconds since 1970.
    """
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def post(webhook: Webhook, payload: dict[str, Any], uid: str) -> int:
    """Post *payload* as JSON, and return the status code of the answer.

    :param uid: the id of the message, the same each time it is sent.
    :raises qorworker.exceptions.Undeliverable: if the receiver did not accept it, or could not be reached.
    """
    parts = urlsplit(webhook.url)
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    body = json.dumps(payload, ensure_ascii=False).encode()
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "qorworker",
        "X-QorWorker-Id": uid,
        "X-QorWorker-Timestamp": timestamp,
    }
    if webhook.secret:
        headers["X-QorWorker-Signature"] = signature(webhook.secret, timestamp, body)
    addresses = resolve(host, port, private=webhook.private_addresses)
    connection = _Connection(host, port, addresses, uses_tls=parts.scheme == "https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read(KEPT_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Undeliverable(f"{host} could not be reached: {type(error).__name__}.") from error
    finally:
        connection.close()
    if 200 <= answer.status < 300:
        return answer.status
    is_redirect = 300 <= answer.status < 400
    said = "It redirects, and redirects are not followed." if is_redirect else visible(text.strip())[:KEPT_CHARS]
    raise Undeliverable(f"{host} answered with {answer.status}. {said}".strip(), answer.status)


class _Connection(http.client.HTTPConnection):
    """Connects to addresses that were looked up before, and proves by TLS that they belong to the host."""

    def __init__(self, host: str, port: int, addresses: list[str], *, uses_tls: bool) -> None:
        super().__init__(host, port, timeout=SECONDS)
        self.default_port = PORTS["https" if uses_tls else "http"]  # which the header Host leaves out
        self.addresses = addresses
        self.tls = ssl.create_default_context() if uses_tls else None

    def connect(self) -> None:
        plain = self._connected()
        try:
            self.sock = plain if self.tls is None else self.tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    def _connected(self) -> socket.socket:
        *others, last = self.addresses
        for address in others:
            try:
                return socket.create_connection((address, self.port), SECONDS)
            except OSError:
                continue
        return socket.create_connection((last, self.port), SECONDS)
