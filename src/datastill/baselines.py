"""Baselines: sets whose images are chosen and not learned, made as comparisons for a distilled set."""

from dataclasses import dataclass, replace
from typing import Any

from .artifact import DistilledSet, Teacher, TeacherOnce
from .config import Config
from .data import DataSettings, RealData
from .errors import UserError, must_be
from .evaluation import NOTHING, Grid, matched
from .making import make
from .methods import METHODS, find_method
from .methods.selection import Selection, Sized
from .methods.teacher_labels import TeacherLabels
from .program import Ordered, Program
from .trust import check_network, check_start

BASELINES: dict[str, type[Selection]] = {name: kind for name, kind in METHODS.items() if issubclass(kind, Selection)}
"""The methods that choose images and learn nothing, by name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """What baselines have in common with each other, and with the set that they are compared with."""

    config: Config
    """Data, network, initial weights and objective; method, candidates and seed are those of a baseline. Step size,
    epochs and optimiser are chosen from `Config.tune`, unless there is a program."""
    data: RealData
    """The real data, with its classes in the order of the set if the objective names classes."""
    ipc: int = 10
    """Images per class, as they are stored."""
    steps: int = 1
    """Gradient steps in an epoch; each step uses other images."""
    program: Program | None = None
    """How networks are trained on the images; None: in ordered steps, with a step size and epochs that are chosen."""
    taught_like: DistilledSet | None = None
    """The set whose teacher gives the labels of the images, too; None: the labels are their classes."""

    @classmethod
    def of(
        cls, distilled: DistilledSet, data: RealData, source: DataSettings | None = None, **changes: Any
    ) -> "Beside":
        """Return what baselines have in common with a distilled set.

        Args:
            distilled: the set that baselines will be compared with.
            data: the real data of the set.
            source: how the data was loaded; None: as the data itself says. It is stored with the baseline.
            changes: fields of `Config` that differ from the set's, e.g. ``network="mlp"``.

        Raises:
            UserError: the set was read from a file that is not trusted, and its network or its initial weights would
                import a module or open another file; or its labels come from a teacher that is not there.
        """
        taught = distilled.teacher_of_labels() is not None
        header, start = distilled.header, distilled.header.start.fresh()
        if not distilled.trusted:
            if "network" not in changes:
                check_network(header.network)
            if "start" not in changes:
                check_start(start)
        fields: dict[str, Any] = {
            "recipe": "",
            "data": source or data.settings,
            "network": header.network,
            "start": start,
            "objective": header.objective,
            "tune": Grid().matching(distilled),
        }
        return cls(
            config=Config(**fields | changes),
            data=matched(distilled, data) if header.objective.names_classes else data,
            ipc=distilled.ipc,
            steps=distilled.batches,
            program=None if isinstance(distilled.program.order, Ordered) else distilled.program,
            taught_like=distilled if taught else None,
        )

    def config_of(self, method: Selection, *, seed: int = 0, candidates: int = 1) -> Config:
        """Return the configuration of a baseline, whose method is given the size of the set.

        Nothing is chosen if the method names its program. A set whose size is fixed has only one step, so that its
        numbers of epochs are multiplied by the steps.
        """
        repeats = 1 if isinstance(method, Sized) else self.steps
        grid = self.config.tune if method.has_open_program else NOTHING
        tune = replace(grid, epochs=tuple(count * repeats for count in grid.epochs))
        sized = method.sized(self.ipc, self.steps)
        return replace(self.config, method=sized, tune=tune, seed=seed, candidates=candidates)

    def made(
        self,
        method: Selection,
        *,
        seed: int = 0,
        candidates: int = 1,
        program: Program | None = None,
        tune: bool = True,
    ) -> DistilledSet:
        """Make a baseline of the size of the set; for the arguments see `making.make`.

        The program of the method is used if it names one.

        Raises:
            UserError: a class has too few images, or the network cannot take them.
        """
        own = None if not method.has_open_program else program or self.program
        config = self.config_of(method, seed=seed, candidates=candidates)
        return make(config, self.data, program=own, tune=tune, taught_like=self.taught_like)


def labelled_like(method: Selection, like: DistilledSet) -> Selection:
    """Return a method that labels its images as those of a set are labelled.

    If a teacher gives the labels of the set at use, `Beside` gives them to the images, too.

    Raises:
        UserError: a teacher gave the labels of the set once, but the method names no teacher.
    """
    source, labels = like.header.labels, method.teacher_labels
    if isinstance(source, Teacher):
        return replace(method, teacher_labels=TeacherLabels())
    if isinstance(source, TeacherOnce):
        return replace(method, teacher_labels=labels.as_given(source, like.program.loss))
    return method


def baseline(
    method: str | Selection,
    like: DistilledSet,
    data: RealData,
    *,
    seed: int = 0,
    candidates: int = 1,
    trust: bool = False,
) -> DistilledSet:
    """Make a set of chosen images that a distilled set is compared with: it has the size of that set.

    Its step size, number of epochs and optimiser are chosen on validation images; if the examples of `like` are
    shuffled, its program is used. Measure it with `score`.

    Args:
        method: a name of `BASELINES`, e.g. ``random`` or ``k-means``, ``module:Class``, or the settings of a selection.
        like: the distilled set; its network, initial weights, images per class and steps are used.
        data: the real data of that set.
        seed: the seed of all that is random.
        candidates: how many sets to make; the one that teaches train images best is returned.
        trust: let names in the file of `like` import modules and open other files.

    Raises:
        UserError: there is no such method, or it learns; a class has too few images; the network of `like` needs trust;
            its labels come from a teacher that is not there; or they did, and `method` names no teacher.
    """
    must_be("like", like, DistilledSet, "load one: datastill.load(name or file)")
    must_be("data", data, RealData, "load it: datastill.load_data(name)")
    kind = find_method(method) if isinstance(method, str) else type(method)
    if not issubclass(kind, Selection):
        raise UserError(f"the method {kind.name} is no selection of images; take one of {', '.join(BASELINES)}")
    chosen = labelled_like(kind() if isinstance(method, str) else method, like)
    return Beside.of(like.with_trust(trust), data).made(chosen, seed=seed, candidates=candidates)
