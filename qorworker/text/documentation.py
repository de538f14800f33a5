"""Where the documentation says more about a message. Pure."""

PLACE = "docs/"  # the folder of its pages in the repository


def see(page: str) -> str:
    """Return a sentence that leads to *page*, such as “howto/uploads.md”."""
    return f"See {PLACE}{page}."
