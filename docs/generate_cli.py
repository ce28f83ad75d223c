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
