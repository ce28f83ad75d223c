"""``python -m mnist_softmax`` is ``mnist-softmax``."""

from mnist_softmax.cli.main import main

main()
