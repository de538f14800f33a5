"""The errors of arguments, by field. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.exceptions import NON_FIELD_ERRORS

from qorworker.text.masking import Mask

Errors = dict[str, list[str]]  # messages by field


def masked(errors: Mapping[str, list[str]], secrets: list[str]) -> Errors:
    """Return *errors* without the secrets that a validator may have quoted."""
    mask = Mask(secrets)
    return {
        "__all__" if name == NON_FIELD_ERRORS else name: [mask(str(message)) for message in messages]
        for name, messages in errors.items()
    }
