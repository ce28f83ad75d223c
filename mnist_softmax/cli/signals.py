"""SIGINT, SIGTERM and SIGHUP: clean up, then die by the signal, so that the caller sees what happened."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

#: A clean-up takes milliseconds. One that hangs is cut off, so that the program ends within two seconds.
_CLEAN_UP_SECONDS = 1.5
_AGAIN_SECONDS = 0.01


class Stopped(SystemExit):
    """A signal, or a broken pipe, ends the program: clean up, then die by it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(128 + signal_number)
        self.signal_number = signal_number


def handle(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Handle SIGINT, SIGTERM and SIGHUP by `handler`, unless they are ignored, as under nohup."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def die(number: int, _frame: FrameType | None = None) -> NoReturn:
    """End the process by a signal, at once."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1 of a container is immune to its own signals


def stop(number: int, _frame: FrameType | None) -> NoReturn:
    """Raise `Stopped`; a second signal, or a clean-up that takes too long, ends the process at once."""
    handle(die)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda *_: die(number))
        signal.setitimer(signal.ITIMER_REAL, _CLEAN_UP_SECONDS)
    raise Stopped(number)


def behind(error: BaseException | None) -> Stopped | None:
    """The `Stopped` that an exception was raised from: Python 3.11 wraps it in ``__set_name__``."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__
    return error


def unraisable(lost: "UnraisableHookArgs") -> None:
    """Raise `Stopped` again if it came where Python drops exceptions, as in a ``__del__``."""
    if isinstance(lost.exc_value, Stopped) and hasattr(signal, "setitimer"):
        number = lost.exc_value.signal_number
        signal.signal(signal.SIGALRM, lambda *_: stop(number, None))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)
