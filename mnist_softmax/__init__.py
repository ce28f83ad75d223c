"""Softmax regression on MNIST, with the gradient derived by hand.

Read it in this order:

1. ``softmax``   the derivation as functions: logits, softmax, cross_entropy, loss, gradient
2. ``train``     minibatch gradient descent, and the fast form of one step
3. ``metrics``   accuracy with its interval, confusion matrix, log loss
4. ``idx``, ``data``, ``preprocess``, ``deskew``   the files and how they become arrays
5. ``weights``   what a training run leaves on disk
6. ``datasets``, ``download``, ``cache``   where the files come from
7. ``files``, ``errors``   atomic writes, and one exception per exit code

The command line in ``cli`` is a thin layer over these. The library neither prints nor exits.
"""

__version__ = "0.1.0"
