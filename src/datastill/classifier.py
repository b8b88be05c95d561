"""A classifier in the manner of scikit-learn: it learns a few synthetic rows, and a network learns from them alone."""

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data  # type: ignore[missing-module-attribute]
from torch import Tensor, nn

from .config import Config
from .data import DataSettings, RealData
from .data.rows import Rows
from .data.splits import Split, stratified
from .errors import UserError
from .evaluation import Protocol
from .loop import LoopSettings
from .methods import Method, find_method
from .methods.dataset_distillation import DatasetDistillation
from .methods.selection import Selection
from .networks import build
from .rng import derive, generator
from .run import learned
from .runlog import Logger, silent
from .storage.records import INTEGER_LIMIT, whole

VALIDATION_SHARE = 0.1
"""Share of the rows of each class that the best iterate is chosen on."""
FEWEST_TO_CUT = 10
"""Rows of the smallest class from which validation rows are set apart; with fewer, all rows serve for both."""
FOR_ROWS = DatasetDistillation(steps=1, epochs=10, step_size=0.3)
"""The settings of the default method: its own are for images, and learn slowly from few rows."""
TEXT = re.compile("could not convert string to float: (.*)")
"""The error of NumPy for a text among numbers."""
LARGEST = float(np.finfo(np.float32).max)


class DistilledClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that learns a few synthetic rows per class, and trains a network on these rows alone.

    What it learned is a distilled set, `distilled_`: it can be saved, given away and trained on by other networks.

    Args:
        method: how the set is made: the name of a method (datastill list methods), or its settings, e.g.
            ``KernelRidge(ipc=5)``. The default has 10 epochs of one step, and a first step size of 0.3.
        network: the network that is trained: a name (datastill list networks), or your own as ``module:callable``.
        ipc: synthetic rows per class; None: as the method says.
        iterations: outer iterations, of methods that have some.
        seed: the seed of all that is random.
        log: for a logger of your own: it is called with each record of the run; see `datastill.distill`.

    Attributes:
        classes_: the classes, sorted.
        distilled_: the distilled set.
        model_: the network that was trained on it.
        n_features_in_: the number of columns.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> X, y = load_wine(return_X_y=True)
        >>> classifier = DistilledClassifier(ipc=1).fit(X, y)
        >>> classifier.distilled_.to_datasets().to_pandas()
    """

    def __init__(
        self,
        *,
        method: str | Method = "dataset-distillation",
        network: str = "mlp",
        ipc: int | None = None,
        iterations: int = 300,
        seed: int = 0,
        log: Logger | None = None,
    ) -> None:
        self.method = method
        self.network = network
        self.ipc = ipc
        self.iterations = iterations
        self.seed = seed
        self.log = log

    def fit(self, X: Any, y: Any) -> "DistilledClassifier":  # noqa: N803 (as scikit-learn has it)
        """Learn a distilled set of the rows, then train the network on it.

        Args:
            X: rows of numbers (n, columns): an array or a data frame.
            y: the class of each row: numbers or texts.

        Raises:
            ValueError: the rows are no finite numbers; there is one class only; or a setting is impossible.
        """
        with _named_texts():
            X, y = validate_data(self, X, y, dtype=(np.float32, np.float64))
        check_classification_targets(y)
        self.classes_, numbers = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(f"there is only one class ({self.classes_[0]}), but at least two are needed")
        with silent():
            data = self._data(_in_range(X), torch.from_numpy(numbers.astype(np.int64)))
            self.distilled_ = learned(self._config(data), data, log=self.log)
            self.model_ = self.distilled_.fit(self._network(), seed=self.seed)
        return self

    def predict(self, X: Any) -> Shaped[np.ndarray, " n"]:  # noqa: N803
        """Return the class of each row.

        Args:
            X: rows of numbers (n, columns).
        """
        found = self.predict_proba(X).argmax(1)
        return self.classes_[found]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n classes"]:  # noqa: N803
        """Return a probability of each class: the softmax of the outputs of the network, which is not calibrated.

        Args:
            X: rows of numbers (n, columns).
        """
        check_is_fitted(self)
        with _named_texts():
            X = validate_data(self, X, reset=False, dtype=(np.float32, np.float64))
        with torch.no_grad():
            outputs = self.model_(self.distilled_.normalise(_in_range(X)))
        return outputs.double().softmax(1).numpy()

    def _config(self, data: RealData) -> Config:
        method = self._method()
        return Config(
            recipe="",
            data=data.settings,
            network=self.network,
            method=method,
            loop=LoopSettings(iterations=self.iterations) if method.rates() else LoopSettings(),
            validation=Protocol(networks=5),
            seed=self.seed,
            device="cpu",
        )

    def _method(self) -> Method:
        """Return the settings of the method, with `ipc` rows per class if that is given."""
        method = _named(self.method) if isinstance(self.method, str) else self.method
        if self.ipc is None:
            return method
        whole(1, INTEGER_LIMIT)(self.ipc, "ipc")
        if isinstance(method, DatasetDistillation):
            return replace(method, ipc=self.ipc, steps=math.gcd(self.ipc, method.steps))
        if isinstance(method, Selection):
            return method.sized(self.ipc, 1)
        if "ipc" not in (each.name for each in fields(method)):  # type: ignore[arg-type]
            raise UserError(f"ipc is {self.ipc}, but the method {method.name} has no such setting; leave ipc out")
        return replace(method, ipc=self.ipc)  # type: ignore[call-arg]

    def _data(self, rows: Float[np.ndarray, "n columns"], labels: Int64[Tensor, " n"]) -> RealData:
        names = getattr(self, "feature_names_in_", ())
        settings = DataSettings(name="rows", in_memory=True)
        (values,), finish = Rows(columns=tuple(map(str, names))).read({"train": rows}, settings)
        splits, space = finish(self._splits(Split(images=values, labels=labels)))
        return RealData(
            name="rows",
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
            class_names=tuple(map(str, self.classes_)),
            space=space,
            source=settings,
        )

    def _splits(self, rows: Split) -> dict[str, Split]:
        """Return what is learned from, and the rows that the best iterate is chosen on; nothing is scored."""
        train = validation = rows
        if int(rows.labels.bincount().min()) >= FEWEST_TO_CUT:
            kept, cut = stratified(rows.labels, VALIDATION_SHARE, generator(self.seed, "validation split"))
            train, validation = rows.take(kept), rows.take(cut)
        return {"train": train, "validation": validation, "test": validation}

    def _network(self) -> nn.Module:
        """Return the network with initial weights as the set wants them."""
        made = self.distilled_
        network = build(made.header.network, shape=made.shape, classes=made.classes)
        seed = derive(self.seed, "classifier")
        theta = made.header.start.unseen(network, seed=seed, purpose="classifier", networks=1, stored=made.theta_0)[0]
        with torch.random.fork_rng(devices=[]):
            model = network.factory()
        model.load_state_dict(network.named(theta), strict=False)
        return model


def _named(name: str) -> Method:
    """Return a method of this name, with settings for rows."""
    return FOR_ROWS if name == FOR_ROWS.name else find_method(name)()


@contextlib.contextmanager
def _named_texts() -> Iterator[None]:
    """Turn the error of scikit-learn for a column of texts into one that says what to do."""
    try:
        yield
    except ValueError as error:
        if not (found := TEXT.search(str(error))):
            raise
        raise UserError(
            f"the rows hold the text {found[1]}, but must be numbers; write each category as a column of 0 and 1 "
            "(pandas.get_dummies), or take load_rows with categories="
        ) from None


def _in_range(rows: Any) -> Float[np.ndarray, "n columns"]:
    """Return rows in float32.

    Raises:
        UserError: a number is too large for it.
    """
    if (found := float(np.abs(rows).max())) > LARGEST:
        raise UserError(
            f"the rows hold a number of size {found:.3g}, but at most {LARGEST:.3g} is possible; scale them"
        )
    return np.asarray(rows, dtype=np.float32)
