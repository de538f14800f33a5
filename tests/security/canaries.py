"""Texts with markup that are looked for wherever texts are shown."""

from __future__ import annotations

import html


def canary(name: str) -> str:
    """Markup, template syntax and formats of Python; *name* tells where it came in."""
    return f"</script><img src=x onerror=\"alert('{name}')\">{{{{ 7|add:35 }}}}{{0.__class__}}%(x)s"


def as_text(name: str) -> str:
    return html.escape(f"alert('{name}')")


def raw(body: str) -> list[str]:
    """The names of the canaries that stand there as markup, or were rendered as a template."""
    return [part.split("'")[0] for part in body.split("alert('")[1:]] + (["rendered"] if "</script>42" in body else [])
