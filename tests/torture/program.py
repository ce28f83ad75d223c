"""The program with a small generated dataset in place of mnist, so that a run takes a moment.

``python tests/torture/program.py ARGUMENTS`` is ``mnist-softmax ARGUMENTS``. ``python tests/torture/program.py --zygote``
loads all that the program ever loads, then forks a process for each line of JSON on stdin: a kill at a random
instant then meets the work and not the imports. With TORTURE_DATA naming the folder of the four real MNIST
files, mnist is mnist; TORTURE_CHECKPOINT_SECONDS is the least time between two
checkpoints; TORTURE_READY asks for a dot on stdout once signals are handled.
"""

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mnist_softmax.cli import signals

signals.handle(signals.die)  # as in mnist_softmax/__main__.py
if os.environ.get("TORTURE_READY"):  # before this, a signal meets Python's own start
    os.write(1, b".")

from common import DATASET

from mnist_softmax.cli.main import main
from mnist_softmax.data.catalog import DATASETS

DATASETS["mnist"] = DATASET


def set_checkpoint_seconds() -> None:
    """Do what TORTURE_CHECKPOINT_SECONDS says."""
    if seconds := os.environ.get("TORTURE_CHECKPOINT_SECONDS"):
        from mnist_softmax.runs import fit

        fit._SECONDS_BETWEEN_CHECKPOINTS = float(seconds)


def be_the_program(request: dict[str, Any]) -> NoReturn:
    """In a forked process: run the command line as the request says."""
    code = 99
    try:
        streams = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(streams, 1)
        os.dup2(streams, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(request["cwd"])
        os.environ.update(request["environment"])
        if not request["locks"]:
            import fcntl

            fcntl.flock = lambda *_: None
        set_checkpoint_seconds()
        time.sleep(max(0.0, request["at"] - time.monotonic()))
        sys.argv = ["mnist-softmax", *request["arguments"]]
        main()
    except SystemExit as ending:
        code = int(ending.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        os._exit(code)


def zygote() -> None:
    """Answer ``{"arguments": ...}`` by the number of a process that runs, ``{"wait": N}`` by its status."""
    import filelock  # noqa: F401
    import requests  # noqa: F401

    from mnist_softmax import blas

    blas.description()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                be_the_program(request)
        try:
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            return


if __name__ == "__main__":
    if sys.argv[1:] == ["--zygote"]:
        zygote()
    else:
        set_checkpoint_seconds()
        main()
