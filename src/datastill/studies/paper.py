"""Accuracies of Wang et al. 2018, to be shown beside measured ones."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published accuracy, in %."""

    mean: float
    sd: float | None = None
    checked: bool = True
    """True: read in a file of the original repository. False: recalled from the paper, and marked with †."""

    def __str__(self) -> str:
        spread = f" ± {self.sd:g}" if self.sd is not None else ""
        return f"{self.mean:g}{spread}{'' if self.checked else ' (†)'}"


def _recalled(mean: float, sd: float) -> Claim:
    return Claim(mean=mean, sd=sd, checked=False)


TABLE: dict[str, dict[str, Claim]] = {
    "mnist": {
        "fixed": Claim(mean=93.76),
        "random-init": Claim(mean=79.5, sd=8.1),
        "random": _recalled(68.6, 9.8),
        "optimised-random": _recalled(73.0, 7.6),
        "k-means": _recalled(76.4, 9.5),
        "average": _recalled(77.1, 2.7),
        "random-nearest-neighbours": _recalled(71.5, 2.1),
        "k-means-nearest-neighbours": _recalled(92.2, 0.1),
    },
    "cifar10": {
        "fixed": Claim(mean=54.03),
        "random-init": Claim(mean=36.79, sd=1.18),
        "random": _recalled(21.3, 1.5),
        "optimised-random": _recalled(23.4, 1.3),
        "k-means": _recalled(22.5, 3.1),
        "average": _recalled(22.3, 0.7),
        "random-nearest-neighbours": _recalled(18.8, 1.3),
        "k-means-nearest-neighbours": _recalled(29.4, 0.3),
    },
}
"""Table 1 of the paper: data -> row -> accuracy."""

NOTE = "† recalled from the paper, not checked in a file of the original repository."
