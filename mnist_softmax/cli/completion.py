"""``mnist-softmax completion``."""

import click

from mnist_softmax.cli import options, output

#: What click's scripts say of a plain word, and what is put before it: files of a suffix, and folders.
_FILES = {
    "bash": (
        "elif [[ $type == 'plain' ]]; then",
        """elif [[ $type == .* ]]; then
            COMPREPLY=($(compgen -f -X "!*$type" -- "$2"))
            compopt -o filenames -o plusdirs
        """,
    ),
    "zsh": (
        'elif [[ "$type" == "dir" ]]; then',
        """elif [[ "$type" == .* ]]; then
            _files -g "*$type"
        """,
    ),
    "fish": (
        'else if test $metadata[1] = "plain";',
        r"""else if string match -q ".*" -- $metadata[1];
            complete -C "'' "(commandline -ct) | string match -er '(/|\\'$metadata[1]')(\t|$)';
        """,
    ),
}


@options.command(
    "completion",
    "Print a script that completes in bash, zsh or fish.",
    "mnist-softmax completion fish > ~/.config/fish/completions/mnist-softmax.fish",
)
@click.argument("shell", type=click.Choice(list(_FILES)))
def command(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options, datasets and files on Tab.

    In bash (4.4 or newer) put this line into ~/.bashrc, and in zsh, with zsh for bash, into ~/.zshrc after
    compinit:

      eval "$(mnist-softmax completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    marker, files = _FILES[shell]
    group = click.get_current_context().find_root().command
    known = kind(group, {}, output.PROGRAM, "_MNIST_SOFTMAX_COMPLETE").source_vars()
    script = kind.source_template.replace(marker, files + marker) % known
    for line in script.strip().splitlines():
        output.emit(line)
