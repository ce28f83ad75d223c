"""Write docs/cli.md from the commands' own help: ``make docs``. A test holds that the file is up to date."""

from pathlib import Path

import click

from mnist_softmax.cli.main import COMMANDS, cli

_HEAD = """# Commands

Made from the program's own help by `make docs`; do not edit.

Every option can also be set by environment: `MNIST_SOFTMAX_<COMMAND>_<OPTION>`, such as
`MNIST_SOFTMAX_TRAIN_LR=0.1`, and for `train` and `sweep` in a TOML file given by `--config`. The command line
wins over the environment, and that over the file. `MNIST_SOFTMAX_MIRROR` names mirrors for every command that
fetches. An empty variable counts as not set. The program warns of a variable that sets nothing.

If an option is given twice, the last one counts; a second `--config` or a second list of `sweep` is refused.
No option takes `-` for a path: results go to stdout by themselves, and `./-` names a file.

`--quiet`, or `MNIST_SOFTMAX_QUIET=1` for every command, leaves results on stdout and errors on stderr,
nothing else. `eval "$(mnist-softmax completion bash)"` (or zsh) in the shell's start-up file makes Tab
complete commands, options, datasets and files.

## Exit codes

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a bug in the program; the traceback is shown |
| 2 | wrong usage or configuration; a file or folder that does not exist; an extra that is missing |
| 3 | no mirror delivered, or offline and not cached |
| 4 | the data is wrong: hash, IDX header, counts, labels, a picture that cannot be read |
| 5 | local trouble: no space, permission, memory or thread, a lock, stdout closed or full, a cluster gone |
| 6 | the weights, receipt or checkpoint is wrong or does not match |
| 7 | a quality gate was missed, weights were not reproduced, a check failed, or training diverged |
| 130, 143, 141 | SIGINT, SIGTERM, broken pipe: the signal itself ends the process |

Results go to stdout, everything else to stderr. An error is one line, the last one on stderr:
`mnist-softmax: error: WHAT: WHERE: expected X, got Y; try Z`. A gate passes at or above its value.
"""


def cli_reference() -> str:
    """The help of the group and of every command, as Markdown."""
    settings = {**cli.context_settings, "terminal_width": 100}
    root = click.Context(cli, info_name="mnist-softmax", **settings)
    parts = [_HEAD, f"## mnist-softmax\n\n```text\n{cli.get_help(root)}\n```\n"]
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=100)
        parts.append(f"## mnist-softmax {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(cli_reference(), encoding="utf-8")
