"""Published accuracies to be shown beside measured ones, each with the kind of its source."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published accuracy, in %."""

    mean: float
    kind: Literal["F", "I", "T"]
    """F: read in a file of the authors' repository, or in the text of a paper. I: read off a picture of results. T: in
    an issue thread of the authors' repository."""
    source: str
    """The method, and where it is described."""

    def __str__(self) -> str:
        return f"{self.mean:.1f} [{self.kind}] {self.source}"


_BPTT, _AT = "RaT-BPTT, arXiv 2311.07025", "AT-BPTT++, repository at-bptt-plus"
_DC, _DSA, _DM = "DC, arXiv 2006.05929", "DSA, arXiv 2102.08259", "DM, arXiv 2110.04181"
_FREPO, _MTT, _IDC = "FRePo, arXiv 2206.00719", "MTT, arXiv 2203.11932", "IDC, arXiv 2205.14959"
_QIN, _RDED, _DWA = "Qin et al., arXiv 2406.10485", "RDED, arXiv 2312.03526", "DWA"
_NCFM, _FADRM = "NCFM, arXiv 2502.20653", "FADRM"


def _of(mean: float, kind: Literal["F", "I", "T"], source: str) -> Published:
    return Published(mean=mean, kind=kind, source=source)


ROWS: dict[str, dict[str, Published]] = {
    "cifar10-1": {
        "dataset-distillation": _of(53.2, "I", f"{_BPTT}, kind of labels not checked"),
        "soft-dataset-distillation": _of(55.7, "I", _AT),
        "distribution-matching": _of(26.0, "F", _DM),
        "gradient-matching": _of(28.8, "F", _DSA),
        "kernel-ridge": _of(46.8, "F", _FREPO),
        "trajectory-matching": _of(46.3, "F", _MTT),
        "taught-random": _of(21.1, "I", _QIN),
    },
    "cifar10-10": {
        "dataset-distillation": _of(69.4, "I", _BPTT),
        "soft-dataset-distillation": _of(74.9, "I", _AT),
        "distribution-matching": _of(48.9, "F", _DM),
        "gradient-matching": _of(52.1, "F", _DSA),
        "kernel-ridge": _of(65.5, "F", _FREPO),
        "taught-random": _of(46.3, "I", _QIN),
        "teacher-crops": _of(50.2, "T", _RDED),
        "teacher-inversion": _of(45.0, "I", _DWA),
    },
    "mnist-1": {"gradient-matching": _of(88.7, "F", _DSA)},
    "mnist-10": {"gradient-matching": _of(97.8, "F", _DSA)},
    "fashion-10": {"gradient-matching": _of(84.6, "F", _DSA)},
}
"""Data and images per class -> name of a row -> what was published for this method, or for a later one of its kind."""

HIGHEST: dict[str, dict[str, Published]] = {
    "cifar10-1": {
        "hard labels": _of(53.2, "I", f"{_BPTT}, kind of labels not checked"),
        "decoded images": _of(50.6, "F", _IDC),
        "learned labels": _of(55.7, "I", _AT),
        "labels of a teacher": _of(49.5, "F", _NCFM),
    },
    "cifar10-10": {
        "hard labels": _of(69.4, "I", _BPTT),
        "decoded images": _of(68.9, "F", f"{_NCFM}, without curation"),
        "learned labels": _of(74.9, "I", _AT),
        "labels of a teacher": _of(72.1, "I", _FADRM),
    },
    "mnist-1": {"hard labels": _of(91.7, "F", _DC), "decoded images": _of(94.2, "F", _IDC)},
    "mnist-10": {"hard labels": _of(98.0, "F", f"{_IDC}, not decoded"), "decoded images": _of(98.4, "F", _IDC)},
    "fashion-10": {"hard labels": _of(85.3, "F", f"{_IDC}, not decoded"), "decoded images": _of(86.0, "F", _IDC)},
}
"""Data and images per class -> kind of labels and images -> the highest published accuracy with a ConvNet."""
ALL_DATA = {"cifar10": _of(81.5, "I", _QIN)}
"""Data -> the published accuracy of a ConvNet that is trained on all real images."""
