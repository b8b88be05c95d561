"""The command that makes sets to compare distilled sets with: baseline."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.text import Text
from tyro.conf import Positional

from ..artifact import DistilledSet, Header
from ..baselines import BASELINES, Beside, labelled_like
from ..bundled import load
from ..config import Config, as_dict
from ..data import DataSettings, load_data
from ..device import pick_device
from ..errors import UserError, at_least, unknown
from ..evaluation import Protocol, score, with_teacher
from ..identity import must_match
from ..making import prepare
from ..methods import METHODS, find_method
from ..methods.selection import RandomReal, Selection, Sized
from ..networks.start import Start
from ..report import accuracy_text, plural
from ..runlog import say
from ..storage.files import as_read, must_be_writable
from .computing import Computing
from .evaluating import data_settings
from .output import out, print_json


@dataclass(frozen=True, kw_only=True)
class MakeBaseline(Computing):
    """Make sets of images that are chosen, not learned, tune their step size on validation images, and measure them.

    The first word is a method without learning (datastill list baselines); ``datastill baseline METHOD --help`` shows
    its settings.

    Examples:
      datastill baseline random mnist --network lenet --ipc 10 --steps 10 --sets 10
      datastill baseline random mnist --candidates 5 --out runs/best-of-5            the best of five on train images
      datastill baseline k-means --like runs/mnist-random/distilled.safetensors     same data, network and size
      datastill baseline k-means --like set.safetensors --nearest                   nearest real images
      datastill baseline herding mnist --network lenet --features lenet             in the features of a network
      datastill baseline random imagenette --network "alexnet(weights=alexnet.safetensors)" --start pretrained --ipc 1
      datastill evaluate set.safetensors runs/random-mnist runs/k-means-mnist       then compare them
    """

    data: Positional[str] = ""
    """Name or folder of the real data; needed unless --like is given."""
    method: Annotated[Selection, tyro.conf.arg(name="")]
    """The settings of the method."""
    like: Path | None = None
    """A distilled set: its data, network, initial weights, ipc and steps replace the defaults of these options."""
    network: str = ""
    """Architecture to train on the images; if not given: mlp."""
    start: Start | None = None
    """Initial weights (datastill list starts); if not given: random(xavier).
    - random(xavier): a fresh draw of an initialiser (datastill list initialisers) for each network.
    - pretrained: the weights that come with the network, such as alexnet(weights=FILE)."""
    sets: int = 1
    """How many sets to make, each from a different seed."""
    candidates: int = 1
    """How many sets to make for each of them; the one that teaches train images best is kept."""
    networks: int = 20
    """How many unseen networks measure each set."""
    out: Path | None = None
    """Folder for the sets; if not given: runs/METHOD-DATA. Sets that are already there are not made again."""
    trust: bool = False
    """Let the file of --like import modules and open other files that it names. Only for files that you trust."""
    json: bool = False
    """Print the result as JSON."""

    def compute(self) -> int:
        """Make the sets that are missing, print their accuracy, and return the exit code."""
        at_least("sets", self.sets, 1)
        at_least("candidates", self.candidates, 1)
        like = self._with_teacher(load(self.like, trust=self.trust)) if self.like else None
        beside, method = self._beside(like), labelled_like(self.method, like) if like else self.method
        folder = self.out or Path("runs") / f"{method.name}-{Path(beside.config.data.name).name}"
        must_be_writable(folder / "0.safetensors")
        count = self.sets if method.varies else 1
        if count < self.sets:
            say(f"{method.name} makes only one set: nothing is random, so another seed changes nothing")
        program, scores = None, []
        for seed in range(count):
            path, each = folder / f"{seed}.safetensors", {"seed": seed, "candidates": self.candidates}
            if not path.exists():
                made = beside.made(method, program=program, **each)
                found = score(made, beside.data, beside.config.protocol, progress=True)
                made.with_score(found.as_dict()).save(path)
            distilled = _made_set(path, beside, method, beside.config_of(method, **each))
            program = distilled.program
            scores.append(distilled.header.score or {})
        return self._print_result(folder, scores)

    def _beside(self, like: DistilledSet | None) -> Beside:
        if like is None and not self.data:
            raise UserError(
                "no data was given; name the data (datastill list data), or a set with the settings to use: --like FILE"
            )
        source = data_settings(like, self.like, self.data) if like and self.like else DataSettings().named(self.data)
        data = load_data(source).to(pick_device("auto"))
        asked = {name: getattr(self, name) for name in ("network", "start")}
        given: dict[str, Any] = {name: value for name, value in asked.items() if value}
        given["protocol"] = Protocol(networks=self.networks)
        beside = (
            Beside.of(like, data, source, **given)
            if like
            else Beside(config=Config(recipe="", data=source, **given), data=data)
        )
        method = self.method
        return replace(beside, ipc=method.ipc, steps=method.steps) if isinstance(method, Sized) else beside

    def _with_teacher(self, like: DistilledSet) -> DistilledSet:
        """Return the set of ``--like``; if its labels come from a teacher, with the one that the command names."""
        teacher = self.method.teacher_labels.teacher
        return with_teacher(like, teacher) if teacher else like

    def _print_result(self, folder: Path, scores: list[Any]) -> int:
        accuracies = [accuracy for one in scores for accuracy in one["accuracies"]]
        sd = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        networks, sets = plural(len(accuracies), "network"), plural(len(scores), "set")
        examples = plural(scores[0]["images"], "test example")
        if self.json:
            return print_json({"folder": str(folder), "mean": statistics.fmean(accuracies), "sd": sd, "scores": scores})
        out.print(
            Text.assemble(
                f"{folder}: ",
                (accuracy_text(statistics.fmean(accuracies), sd, len(accuracies)), "bold"),
                f" (n = {networks} on {sets}, {examples})",
            )
        )
        return 0


def selection(words: Sequence[str]) -> tuple[MakeBaseline, list[str]]:
    """Return the command for the method that the first word names, and the other words.

    The method decides which options exist, and a set that is named by ``--like`` decides their defaults, so both are
    read before the options are parsed.

    Raises:
        UserError: no method is named, there is no such method, or it learns; or the set cannot be read.
    """
    rest = list(words)
    if not rest or rest[0].startswith("-"):
        if {"-h", "--help"} & set(rest):
            return MakeBaseline(method=RandomReal()), rest
        raise UserError(f"no method was given; name one of {', '.join(BASELINES)} as the first word")
    kind = find_method(rest.pop(0)) if ":" in rest[0] else _known(rest.pop(0))
    if not issubclass(kind, Selection):
        raise UserError(
            f"the method {kind.name} is no selection of images; take datastill distill --method {kind.name}"
        )
    method = kind()
    if file := _value(rest, "--like"):
        like, program = load(Path(file)), _value(rest, "--program")
        method = method.sized(like.ipc, like.batches if program in ("", "open") else 1)
    return MakeBaseline(method=method), rest


def _known(name: str) -> type[Any]:
    if name in METHODS:
        return METHODS[name]
    raise unknown("baseline", name, BASELINES)


def _value(words: Sequence[str], option: str) -> str:
    """Return the value of an option in the words of a command line; empty without it."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else "".join(words[i + 1 : i + 2])
    return ""


def _made_set(path: Path, beside: Beside, method: Selection, config: Config) -> DistilledSet:
    """Load the set in a file that this command made with these settings.

    Raises:
        UserError: the set in the file was made or measured with other settings, or for other weights.
    """
    distilled = load(path)
    task = prepare(config, beside.data).task
    labels = beside.taught_like.header.labels if beside.taught_like else method.teacher_labels.source(task)
    now = replace(
        distilled.header,
        config=as_dict(config),
        start=task.draws.start,
        frozen=task.network.sha256(),
        labels=labels,
    )
    must_match(f"the baseline in {path}", _identity(distilled.header), _identity(now), "give another folder with --out")
    return distilled


def _identity(header: Header) -> dict[str, Any]:
    """Return what decides the images of a baseline, the training on them, and its score."""
    weights = {"frozen": header.frozen, "pretrained": header.start.required_sha256}
    return {"config": as_read(dict(header.config)), "weights": weights, "labels": asdict(header.labels)}
