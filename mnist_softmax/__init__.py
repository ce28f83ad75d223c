"""Softmax regression on MNIST, with the gradient derived by hand.

Read it in this order:

1. ``softmax``   the derivation as functions: logits, softmax, cross_entropy, loss, gradient
2. ``train``     minibatch gradient descent, and the fast form of one step; ``shuffle`` the order of the rows
3. ``gradcheck``, ``numeric``   every equation of docs/derivation.md, checked numerically
4. ``metrics``   accuracy with its interval, confusion matrix, log loss
5. ``idx``, ``data``, ``preprocess``, ``deskew``   the files and how they become arrays
6. ``weights``   what a training run leaves on disk
7. ``datasets``, ``download``, ``cache``   where the files come from
8. ``files``, ``errors``   atomic writes, and one exception per exit code

The command line in ``cli`` is a thin layer over these. The library neither prints nor exits.
"""

__version__ = "0.1.0"
