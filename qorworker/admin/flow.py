"""The picture of a flow: boxes from left to right, as SVG, and a list that says the same. Web."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import permissions
from qorworker.admin import links
from qorworker.admin.display import label_of, look_of, qw_number
from qorworker.definitions.registry import registry
from qorworker.models import Batch, Job
from qorworker.queries.flow import Flow, key_of
from qorworker.text.cleaning import visible

WIDTH, HEIGHT = 204, 46  # of a box
APART, BETWEEN = 44, 14  # boxes, from left to right and from top to bottom
MARGIN = 4
CHARS, STATE_CHARS = 26, 30  # of a title in a box, and of the line below it, which is smaller
# What tells statuses apart where there is no colour.
SIGNS = {"new": "○", "scheduled": "◷", "running": "▶", "done": "✓", "exception": "✕", "killed": "■", "cancelled": "⊘"}
SIGNS |= {"paused": "Ⅱ", "retrying": "↻"}


@dataclass(frozen=True)
class Box:
    """One job or batch in the picture."""

    x: int
    y: int
    number: str
    title: str
    short: str
    look: str
    state: str
    label: str
    url: str
    is_root: bool
    is_batch: bool
    after: tuple[str, ...]  # the numbers of those that come before it


@dataclass(frozen=True)
class Picture:
    boxes: list[Box]
    lines: list[str]  # paths
    width: int
    height: int
    is_cut: bool


def picture_of(request: HttpRequest, flow: Flow, root: Job | Batch) -> Picture | None:
    """Return the picture of *flow*; None if *root* stands alone."""
    if len(flow.nodes) < 2:
        return None
    places = _places(flow)
    before = defaultdict(list)
    for first, second in sorted(flow.edges):
        before[second].append(_number(flow.nodes[first]))
    boxes = [
        _box(request, node, *places[key], tuple(before[key]), is_root=key == key_of(root))
        for key, node in sorted(flow.nodes.items(), key=lambda item: places[item[0]])
    ]
    width = max(x for x, _y in places.values()) + WIDTH + MARGIN
    height = max(y for _x, y in places.values()) + HEIGHT + MARGIN
    return Picture(boxes, [_line(*places[a], *places[b]) for a, b in sorted(flow.edges)], width, height, flow.is_cut)


def _places(flow: Flow) -> dict[Any, tuple[int, int]]:
    columns = defaultdict(list)
    for key, level in flow.levels().items():
        columns[level].append(key)
    most = max(map(len, columns.values()))
    places = {}
    for level, keys in columns.items():
        top = (most - len(keys)) * (HEIGHT + BETWEEN) // 2
        for row, key in enumerate(sorted(keys)):
            places[key] = (MARGIN + level * (WIDTH + APART), MARGIN + top + row * (HEIGHT + BETWEEN))
    return places


def _line(x: int, y: int, to_x: int, to_y: int) -> str:
    """Return a path from the right end of one box to the left end of another one."""
    start, end, bend = x + WIDTH, to_x - 6, APART // 2
    middle, to_middle = y + HEIGHT // 2, to_y + HEIGHT // 2
    return f"M{start} {middle} C{start + bend} {middle} {end - bend} {to_middle} {end} {to_middle}"


def _number(node: Job | Batch) -> str:
    return _("batch %d") % node.pk if isinstance(node, Batch) else f"#{node.pk}"


def _box(request: HttpRequest, node: Job | Batch, x: int, y: int, after: tuple[str, ...], *, is_root: bool) -> Box:
    title = visible(node.title)
    if isinstance(node, Batch):
        label = str(node.get_outcome_display())
        if all(permissions.can(request.user, "view", registry.find(name)) for name in node.names):
            label += ", " + ngettext("%s job", "%s jobs", node.total) % qw_number(node.total)
        look = {"": "running", "done": "done"}.get(node.outcome, "exception")
        url = links.url_if_there(request, "qorworker_batch_change", node.pk)
    else:
        look, label, url = look_of(node), label_of(node), links.url(request, "qorworker_job_change", node.pk)
    number, is_batch = _number(node), isinstance(node, Batch)
    short, state = _cut(title, CHARS), _cut(f"{number} {SIGNS.get(look, '•')} {label}", STATE_CHARS)
    return Box(x, y, number, title, short, look, state, label, url, is_root, is_batch, after)


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
