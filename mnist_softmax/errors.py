"""One exception per exit code. The command line prints the message as one line and exits with the code."""

import re
from importlib import import_module
from typing import ClassVar


def one_line(text: str) -> str:
    """`text` with line breaks and control characters written as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def brief(value: object) -> str:
    """A value for an error: its beginning, if it is long."""
    try:
        return repr(value)[:60]
    except ValueError:  # Python refuses to write an integer of more than 4,300 digits
        return "a number of thousands of digits"


class MnistSoftmaxError(Exception):
    """What went wrong, as one line: ``WHAT: WHERE: expected X, got Y; try Z``.

    Parameters
    ----------
    what : what is wrong, in a few words.
    where : the path or URL concerned.
    expected, got : what was expected, and what was found.
    remedy : what the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        where: object = None,
        *,
        expected: object = None,
        got: object = None,
        remedy: str = "",
    ) -> None:
        self.what = what
        found = f"got {got}" if got is not None else ""
        if expected is not None:
            found = f"expected {expected}" + (f", {found}" if found else "")
        parts = [part for part in (what, "" if where is None else str(where), found) if part]
        message = ": ".join(parts) + (f"; {remedy}" if remedy else "")
        # Paths and server replies may contain line breaks or escape codes; a URL in the place of a path, a
        # password.
        super().__init__(one_line(re.sub(r"(\w\w:/+)\S*@", r"\1...@", message)))


class UsageError(MnistSoftmaxError):
    """Wrong usage or configuration, or a named file or folder that does not exist."""

    exit_code = 2


class DownloadError(MnistSoftmaxError):
    """A file could not be fetched: no mirror delivered it, or it is not cached and the program is offline."""

    exit_code = 3


class DataError(MnistSoftmaxError):
    """The data is wrong: a hash, an IDX header, counts, labels, or an image that cannot be read."""

    exit_code = 4


class LocalIOError(MnistSoftmaxError):
    """A local problem: no space, no permission, no memory, a lock held by another process, stdout closed."""

    exit_code = 5


class ClusterError(LocalIOError):
    """A cluster is gone, or none of its workers can be used; what is done so far is not lost."""


class WeightsError(MnistSoftmaxError):
    """Weights, receipt or checkpoint are invalid, or do not match each other or the data."""

    exit_code = 6


class GateError(MnistSoftmaxError):
    """A quality gate was missed, or training diverged."""

    exit_code = 7


def require(module: str, package: str, extra: str) -> None:
    """Check that the package of an optional extra is installed.

    Raises
    ------
    UsageError : `module` cannot be imported; the message says what to install.
    """
    try:
        import_module(module)
    except ImportError as error:
        remedy = f"install it with: pip install 'mnist-softmax[{extra}]'"
        raise UsageError(f"{package} is missing", remedy=remedy) from error
