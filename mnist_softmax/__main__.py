"""``python -m mnist_softmax`` is ``mnist-softmax``."""

from mnist_softmax.cli import signals

signals.handle(signals.die)  # while the program loads there is nothing to clean up

from mnist_softmax.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
