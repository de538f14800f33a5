"""Secret arguments: a value that never shows itself, and its encryption at rest. All processes."""

from __future__ import annotations

import base64
import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from django.conf import settings as django_settings
from django.utils.translation import gettext as _

from qorworker.conf import settings
from qorworker.exceptions import SecretsUnavailable
from qorworker.text.masking import MASK

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

T = TypeVar("T")

PURPOSE = b"qorworker: secret arguments, version 1"


class Secret(Generic[T]):
    """A value that is printed, formatted, logged and shown as dots. ``get_secret_value()`` returns it."""

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value = value

    def get_secret_value(self) -> T:
        """Return the value itself."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(repr(self.__value).encode(), repr(other.__value).encode())

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret[T]:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Secret is never pickled: its value would be readable.")


def available() -> bool:
    """Return whether the extra ``secrets`` is installed."""
    try:
        import cryptography.fernet  # noqa: F401, PLC0415 - cryptography is optional
    except ImportError:
        return False
    return True


def encrypt(text: str) -> str:
    """Return *text*, encrypted with the newest key."""
    return _fernet().encrypt(text.encode()).decode()


def decrypt(token: str, label: str = "") -> str:
    """Return the text of a token that was made with one of the current keys.

    :param label: what the error calls the argument.
    :raises qorworker.exceptions.SecretsUnavailable: if no key fits.
    """
    from cryptography.fernet import InvalidToken  # noqa: PLC0415 - cryptography is optional

    fernet = _fernet()
    try:
        return fernet.decrypt(token.encode()).decode()
    except (InvalidToken, UnicodeError):
        raise SecretsUnavailable(
            _("The stored %(name)s cannot be decrypted with the current keys. Enter it again.")
            % {"name": label or _("secret")}
        ) from None


def _fernet() -> MultiFernet:
    if not available():
        raise SecretsUnavailable(
            _("Secret arguments cannot be stored: install the extra with “pip install qorworker[secrets]”.")
        )
    keys = settings.SECRET_KEYS or [django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS]
    return _ring(tuple(keys))


@lru_cache(maxsize=4)
def _ring(keys: tuple[str | bytes, ...]) -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - cryptography is optional
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - cryptography is optional
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 - cryptography is optional

    def derived(key: str | bytes) -> bytes:
        material = key if isinstance(key, bytes) else key.encode()
        return base64.urlsafe_b64encode(HKDF(SHA256(), 32, salt=None, info=PURPOSE).derive(material))

    return MultiFernet([Fernet(derived(key)) for key in keys])
