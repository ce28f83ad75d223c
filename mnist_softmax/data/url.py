"""URLs of mirrors, redirects and proxies: which are accepted, and what is shown of them."""

import re
from typing import NamedTuple

#: A password with a bare ``/``, ``@``, ``?`` or ``#`` would otherwise pass for a host, a path or a query.
_FORM = (
    r"([a-z][a-z0-9+.-]*)://(?:([^@/?#\\\s]*)@)?"
    r"((?:\[[^][@/?#\\\s]+\]|[^][@:/?#\\\s]+)(?::([0-9]*))?)(/[^?#]*)?([?#].*)?"
)


class Url(NamedTuple):
    """The parts of a URL: `user` and a password, percent-encoded; `host` and port; `query` and fragment."""

    scheme: str
    user: str
    host: str
    path: str
    query: str

    @property
    def bare(self) -> str:
        """The URL without user and password."""
        return f"{self.scheme}://{self.host}{self.path}{self.query}"

    @property
    def shown(self) -> str:
        """The one form in which a URL is printed. What precedes an ``@`` in a path may be a password."""
        _, at, after = self.path.rpartition("@")
        tail = "..." if "@" in self.query else f"...@{after}" if at else self.host + self.path
        return f"{self.scheme}://{tail}"


def parse(text: str) -> Url | None:
    """The parts of a URL, or None if it is malformed or may be read in two ways."""
    form = re.fullmatch(_FORM, text, re.IGNORECASE)
    if not form or not text.isprintable():
        return None
    scheme, user, host, port, path, query = form.groups("")
    if (user and "@" in path + query) or not 0 < int(port or 80) < 1 << 16:
        return None
    return Url(scheme.lower(), user, host, path, query)
