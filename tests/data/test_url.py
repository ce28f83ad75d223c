"""Which URLs are accepted, and that none of them, good or malformed, ever shows a password."""

import re

import pytest
from conftest import Program

from mnist_softmax.data.catalog import mirror_bases
from mnist_softmax.data.url import parse
from mnist_softmax.errors import UsageError

MALFORMED = [
    "user:s3cret@host/",
    "http:user:s3cret@h/",
    "http:/user:s3cret@h/",
    "http://user:s3cret@\\evil/",
    "http://user:s3cret\\@evil/",
    "http://user:s3cret/w@host/",
    "http://user:p/s3cret@host/",
    "http://user:s3cret?@host/",
    "http://user:s3cret#@host/",
    "http://user:p@s3cret/x@host/",
    "http://user:s3cret@",
    "http://user:s3cret@/",
    "http://user:s3cret@host:99999/",
    "http://user:s3cret@host:0/",
    "http://user:s3cret@host:x/",
    "http://user:s3cret@[::1/",
    "http://user:s3cret@ho st/",
    "http://us er:s3cret@host/",
    "http://user:s3\tcret@host/",
    "http://user:\x1b[31ms3cret@host/",
    "http://user:s3cret@host/\n",
    "http://user:s3cret",
    "http://user:s3cret@host@evil/",
    "://user:s3cret@host/",
    "s3cret",
    "http://user:s3cret@host/\udcff",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_mirror_is_named_by_its_place_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="not a mirror: URL 2 of 3 ") as caught:
        mirror_bases(["http://host/", url, "http://host/"])
    assert not [part for part in ("cret", "pw", "user", "token") if part in str(caught.value)]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host/a/b", "http://host/a/b"),
        ("HTTPS://user:s3cret@host:8443/a", "https://host:8443/a"),
        ("http://user:s%40s3cret%2F@[::1]:80/", "http://[::1]:80/"),
        ("http://üser:s3cret€@höst/", "http://höst/"),
        ("http://@host", "http://host"),
        ("http://host/a?token=s3cret", "http://host/a"),
        ("https://host/package@2.0/data/", "https://...@2.0/data/"),
        # A bare slash in a password, or in a token, makes a URL that parses.
        ("http://user:8080/s3cret@host/", "http://...@host/"),
        ("http://token/s3cret@host/", "http://...@host/"),
    ],
)
def test_user_password_and_query_are_not_shown(url: str, shown: str) -> None:
    parts = parse(url)
    assert parts
    assert parts.shown == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://user:s3cret@host/", "ftp://host/"),
        ("http://user:pw@host/?token=s3cret", "http://host/"),
        ("http://host/#s3cret", "http://host/"),
        ("http://s3cret?or@host/", "http://..."),
    ],
)
def test_a_url_that_is_no_mirror_is_shown_without_its_secrets(url: str, shown: str) -> None:
    with pytest.raises(UsageError, match=rf"not a mirror: {re.escape(shown)}: expected ") as caught:
        mirror_bases(["http://host/", url])
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", MALFORMED[:6])
def test_the_program_does_not_show_it_either(url: str, program: Program) -> None:
    for done in (
        program("download", "--json", "--mirror", url),
        program("download", MNIST_SOFTMAX_MIRROR=f"http://127.0.0.1:1/ {url}"),
        program("train", MNIST_SOFTMAX_MIRROR=url),
    ):
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert "cret" not in done.out + done.err
