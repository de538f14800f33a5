"""Reads the signature of a handler: parameters, annotations, defaults, docstring. Pure."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from qorworker.arguments.row_keys import is_row_keys
from qorworker.exceptions import JobTypeError

MISSING: Any = inspect.Parameter.empty

_PARAMETERS = ("args", "arguments", "parameters", "params")
_SECTIONS = (*_PARAMETERS, "return", "returns", "raises", "yields", "example", "examples", "note", "notes")
_REST = re.compile(r"^:(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")
_ENTRY = re.compile(r"^(\w+)\s*(?:\([^)]*\)\s*)?(?::\s*(.*))?$")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a handler that becomes an argument."""

    name: str
    annotation: Any
    default: Any
    help: str = ""


@dataclass(frozen=True)
class Signature:
    parameters: dict[str, Parameter]
    context_parameter: str | None
    problems: dict[str, str]  # parameter -> why it cannot be an argument
    row_keys_parameter: str | None = None  # the one that gets ``RowKeys``; no form asks for it
    positional: tuple[str, ...] = ()  # the arguments that may be given by position, in their order


def read(function: Callable[..., Any]) -> Signature:
    helps = docstring_parameters(function.__doc__ or "")
    parameters: dict[str, Parameter] = {}
    problems: dict[str, str] = {}
    context: str | None = None
    row_keys: str | None = None
    positional: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        try:
            annotation = resolved(inspect.unwrap(function), parameter)
            if is_context(annotation) or (name == "context" and annotation is MISSING):
                context = name
                continue
            _refuse_kind(parameter)
            if parameter.kind is not parameter.KEYWORD_ONLY:
                positional.append(name)
            if is_row_keys(annotation):
                _refuse_row_keys(parameter, row_keys)
                row_keys = name
                continue
            parameters[name] = Parameter(name, annotation, parameter.default, helps.get(name, ""))
        except JobTypeError as error:
            problems[name] = str(error)
    return Signature(parameters, context, problems, row_keys, tuple(positional))


def is_context(annotation: Any) -> bool:
    """Return whether an annotation means ``JobContext``. It may be a text that only type checkers can resolve."""
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == "JobContext"
    return getattr(annotation, "__qualname__", "") == "JobContext" and annotation.__module__.startswith("qorworker.")


def resolved(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the annotation of a parameter, even if it is written as a text.

    :raises qorworker.exceptions.JobTypeError: if the text cannot be resolved.
    """
    if parameter.annotation is MISSING or not isinstance(parameter.annotation, str) or is_context(parameter.annotation):
        return parameter.annotation
    module = sys.modules.get(function.__module__)
    names = {**vars(module), **function.__globals__} if module else function.__globals__
    try:
        holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
        outer = inspect.getclosurevars(function).nonlocals
        return typing.get_type_hints(holder, names, dict(outer), include_extras=True)["it"]
    except Exception as error:
        raise JobTypeError(f"its annotation {parameter.annotation!r} cannot be resolved: {error}") from error


def _refuse_kind(parameter: inspect.Parameter) -> None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise JobTypeError("a job has no form for *args and **kwargs; name each argument")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise JobTypeError("arguments are passed by name, so it cannot be positional-only")


def _refuse_row_keys(parameter: inspect.Parameter, earlier: str | None) -> None:
    if parameter.default is not None:
        raise JobTypeError("its default must be None, which stands for all rows: RowKeys | None = None")
    if earlier is not None:
        raise JobTypeError(f"the keys of rows go to {earlier} already")


def docstring_parameters(docstring: str) -> dict[str, str]:
    """Return what a docstring says about each parameter, in the style of Google, NumPy or reStructuredText."""
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    in_section, indent = False, 0
    lines = inspect.cleandoc(docstring).splitlines() or [""]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if heading := _heading(line, following):
            in_section, current = heading in _PARAMETERS, None
        elif not text or set(text) == {"-"}:
            continue
        elif match := _REST.match(text):
            current, indent = texts.setdefault(match[1], []), depth
            current.append(match[2])
        elif current is not None and depth > indent:
            current.append(text)
        elif in_section and (match := _ENTRY.match(text)):
            current, indent = texts.setdefault(match[1], []), depth
            # Where the style of NumPy has the type, that of Google already has the text.
            current.append(match[2] if depth else "")
        else:
            current = None
    return {name: text for name, parts in texts.items() if (text := " ".join(parts).strip())}


def description(docstring: str) -> str:
    """Return a docstring up to its list of parameters."""
    kept: list[str] = []
    lines = inspect.cleandoc(docstring).splitlines() or [""]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if _heading(line, following) or re.match(r"\s*:\w+[^:]*:", line):
            break
        kept.append(line)
    return "\n".join(kept).strip()


def _heading(line: str, following: str) -> str:
    """Return the word of a section heading, ``Args:`` or ``Parameters`` above dashes; empty for any other line."""
    word = line.rstrip(": ").lower()
    marked = line.rstrip().endswith(":") or (following and set(following.strip()) == {"-"})
    return word if marked and word in _SECTIONS else ""


def place_of(function: Callable[..., Any]) -> str:
    """Return ``module.function (file:line)``, for messages."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name
