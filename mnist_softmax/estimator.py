"""Softmax regression as an estimator of scikit-learn's kind, which comes with the extra ``sklearn``.

It finds the minimum of the same loss by the same L-BFGS as ``mnist-softmax train --solver lbfgs``, for any
features and any labels. scikit-learn's LogisticRegression has the same minimum with C = 1 / (reg * rows).
"""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mnist_softmax import softmax
from mnist_softmax.errors import UsageError
from mnist_softmax.features.steps import SCALE
from mnist_softmax.settings import SETTINGS, Settings
from mnist_softmax.training import lbfgs
from mnist_softmax.training.blocks import Blocks

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "scikit-learn >= 1.6 is missing; install it with: pip install 'mnist-softmax[sklearn]'"
    ) from error

#: The dtypes that X is used in; another one becomes the first.
_DTYPES = (np.float64, np.float32, np.uint8)


class SoftmaxRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Multinomial logistic regression with an L2 penalty, trained by L-BFGS.

    X is (M, N), dense. Numbers are taken as they are, but those of dtype uint8 are pixels: 255 counts as 1,
    in `fit` and in `predict`.

    Parameters
    ----------
    reg : lambda of the penalty (reg / 2) * ||W||^2, added to the mean cross-entropy; the bias is free.
    epochs : passes over the rows, at most; a ConvergenceWarning says that they were not enough.
    tol : training ends when no entry of the gradient is larger, or when rounding hides the next step.

    Attributes
    ----------
    classes_ : (L,) the labels, sorted.
    coef_, intercept_ : (L, N) and (L,) floats, W transposed and B.
    n_iter_ : passes over the rows.
    n_features_in_, feature_names_in_ : as of every estimator.
    """

    def __init__(
        self,
        reg: float = SETTINGS["reg"].default,
        *,
        epochs: int = SETTINGS["epochs"].default_with((), "lbfgs"),
        tol: float = 1e-5,
    ) -> None:
        self.reg = reg
        self.epochs = epochs
        self.tol = tol

    def fit(self, X: Any, y: Any) -> Self:
        """Train on features X (M, N) and labels y (M,), numbers or strings.

        Raises
        ------
        ValueError : a wrong parameter; X is not finite or as large as float32 cannot hold; one class only.
        TypeError : X is sparse.
        """
        X, y = validate_data(self, X, y, dtype=list(_DTYPES))
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"expected two classes or more, got one class: {self.classes_[0]}")
        try:
            settings = Settings.for_features((), solver="lbfgs", reg=self.reg, epochs=self.epochs)
        except UsageError as error:
            raise ValueError(str(error)) from error
        stored, middle, scale = X, np.zeros(X.shape[1]), SCALE
        if X.dtype != np.uint8:  # the bias makes up for any shift of X, and float32 is finest around 0
            with np.errstate(over="ignore", invalid="ignore"):
                middle, scale = X.mean(axis=0, dtype=np.float64).astype(X.dtype), 1.0
                stored = (X - middle).astype(np.float32, copy=False)
        state = lbfgs.initial_state(X.shape[1], len(self.classes_), scale)
        blocks = Blocks(stored, labels, np.arange(len(X), dtype=np.uint32))
        for _ in lbfgs.minimise(blocks, settings, state):
            if np.abs(state.best.gradient).max() <= self.tol:
                break
            if state.epoch == self.epochs:
                warnings.warn(f"not converged after epochs={self.epochs}", ConvergenceWarning, stacklevel=2)
        if not (np.isfinite(state.best.loss) and np.isfinite(state.best.gradient).all()):
            raise ValueError("X or reg is too large for float32")
        W, B = np.split(state.parameters(), [-1])
        self.coef_, self.intercept_, self.n_iter_ = W.T, B[0] - middle @ W, state.epoch
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class, (M, L) float64, in the order of `classes_`; rows sum to 1."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=list(_DTYPES))
        if X.dtype == np.uint8:
            X = X / np.float32(SCALE)
        F = (X @ self.coef_.T + self.intercept_).astype(np.float64, copy=False)
        S: NDArray[np.float64] = softmax.softmax(F)
        return S

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row, (M,)."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[most_probable]
        return predicted
