"""The command that makes sets to compare distilled sets with: baseline."""

import statistics
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from rich.text import Text
from tyro.conf import Positional

from ..artifact import DistilledSet, Header
from ..baselines import BASELINES, Baseline, Setting, trained_by
from ..bundled import load
from ..data import DataSettings, load_data
from ..errors import UserError, at_least
from ..evaluation import Protocol, score
from ..networks.start import Start
from ..report import plural
from ..run import pick_device
from ..storage.files import as_read, must_be_writable
from .evaluating import data_settings
from .output import out, print_json

Kind = Literal["random", "optimised-random", "average", "k-means", "k-center", "herding"]


@dataclass(frozen=True, kw_only=True)
class MakeBaseline:
    """Make sets of images that are chosen, not learned, tune their step size on validation images, and measure them.

    Examples:
      datastill baseline random mnist --network lenet --ipc 10 --steps 10 --sets 10
      datastill baseline k-means --like runs/mnist-random/distilled.safetensors     same data, network and size
      datastill baseline k-means --like set.safetensors --nearest                   nearest real images
      datastill baseline herding mnist --network lenet --features lenet             in the features of a network
      datastill baseline random imagenette --network "alexnet(weights=alexnet.safetensors)" --start pretrained --ipc 1
      datastill evaluate set.safetensors runs/random-mnist runs/k-means-mnist       then compare them
    """

    kind: Positional[Kind]
    """How the images are chosen (datastill list baselines)."""
    data: Positional[str] = ""
    """Name or folder of the real data; needed unless --like is given."""
    like: Path | None = None
    """A distilled set: its data, network, initial weights, ipc and steps replace the defaults of these options."""
    network: str = ""
    """Architecture to train on the images; if not given: mlp."""
    start: Start | None = None
    """Initial weights (datastill list starts); if not given: random(xavier).
    - random(xavier): a fresh draw of an initialiser (datastill list initialisers) for each network.
    - pretrained: the weights that come with the network, such as alexnet(weights=FILE)."""
    ipc: int = 0
    """Images per class; 0 (not given): 10."""
    steps: int = 0
    """Gradient steps in an epoch, each on different images; 0 (not given): 1."""
    sets: int = 1
    """How many sets to make, each from a different seed."""
    networks: int = 20
    """How many unseen networks measure each set."""
    nearest: bool = False
    """For k-means: use the real images nearest to the centroids, instead of the centroids."""
    features: str = ""
    """For k-center and herding: a network, e.g. lenet, which is first trained on the data and gives the features by
    which images are compared. Empty: images are compared by their pixels."""
    out: Path | None = None
    """Folder for the sets; if not given: runs/KIND-DATA. Sets that are already there are not made again."""
    trust: bool = False
    """Let the file of --like import modules and open other files that it names. Only for files that you trust."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Make the sets that are missing, print their accuracy, and return the exit code."""
        at_least("sets", self.sets, 1)
        baseline, setting = self._baseline(), self._setting()
        folder = self.out or Path("runs") / f"{self.kind}-{Path(setting.header.data).name}"
        must_be_writable(folder / "0.safetensors")
        count = self.sets if baseline.varies else 1
        if count < self.sets:
            out.print(f"{self.kind} makes only one set: nothing in it is random, so another seed changes nothing")
        protocol, scores = None, []
        for seed in range(count):
            path, one = folder / f"{seed}.safetensors", replace(setting, seed=seed)
            if not path.exists():
                distilled = baseline.build(one, protocol)
                found = score(distilled, setting.data, Protocol(networks=self.networks), progress=True)
                distilled.with_score(found.as_dict()).save(path)
            distilled = self._made_set(path, baseline, one)
            protocol = trained_by(distilled)
            scores.append(distilled.header.score or {})
        return self._print_result(folder, scores)

    def _baseline(self) -> Baseline:
        kind = BASELINES[self.kind]
        known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
        given: dict[str, Any] = {"nearest": self.nearest, "features": self.features}
        given = {name: value for name, value in given.items() if value}
        for name in given.keys() - known:
            raise UserError(f"--{name} is not a setting of {self.kind}; leave it out")
        return kind(**given)

    def _setting(self) -> Setting:
        like = load(self.like, trust=self.trust) if self.like else None
        if like is None and not self.data:
            raise UserError(
                "no data was given; name the data (datastill list data), or a set with the settings to use: --like FILE"
            )
        source = data_settings(like, self.data) if like else DataSettings().named(self.data)
        data = load_data(source).to(pick_device("auto"))
        asked = {name: getattr(self, name) for name in ("network", "start", "ipc", "steps")}
        given: dict[str, Any] = {name: value for name, value in asked.items() if value}
        if like:
            return self._used(Setting.like(like, data, source, **given))
        given.setdefault("network", "mlp")
        return self._used(Setting(data=data, source=source, **given))

    def _used(self, setting: Setting) -> Setting:
        """Return the setting; raise a `UserError` if an option has no effect in it."""
        if self.ipc and self.kind == "average":
            raise UserError("--ipc has no effect: there is one average image of each class; leave it out")
        return setting

    def _made_set(self, path: Path, baseline: Baseline, setting: Setting) -> DistilledSet:
        """Load the set in a file that this command made with these settings.

        Raises:
            UserError: the set in the file was made or measured with other settings.
        """
        distilled = load(path)
        record = dict(setting.header.config) | {"baseline": baseline.record(setting)}
        then, now = _made_with(distilled.header), _made_with(replace(setting.header, config=as_read(record)))
        networks = (distilled.header.score or {}).get("n")
        if not setting.start.is_one and not setting.start.opens:
            then, now = then | {"networks": networks}, now | {"networks": self.networks}
        both = then.keys() & now.keys()  # a set of an earlier version may lack a setting
        if changed := [f"{name} {then[name]}, not {now[name]}" for name in sorted(both) if then[name] != now[name]]:
            raise UserError(f"{path} holds another set ({'; '.join(changed)}); give another folder with --out")
        return distilled

    def _print_result(self, folder: Path, scores: list[Any]) -> int:
        accuracies = [accuracy for one in scores for accuracy in one["accuracies"]]
        sd = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        if self.json:
            return print_json({"folder": str(folder), "mean": statistics.fmean(accuracies), "sd": sd, "scores": scores})
        out.print(
            Text.assemble(
                f"{folder}: ",
                (f"{statistics.fmean(accuracies):.2%} ± {100 * sd:.2f}", "bold"),
                f" (n = {len(accuracies)} networks on {plural(len(scores), 'set')}, {scores[0]['images']} test images)",
            )
        )
        return 0


def _made_with(header: Header) -> dict[str, Any]:
    """Return what decides the images of a baseline and the training on them, by name."""
    found = {"network": header.network, "start": str(header.start), "frozen weights": header.frozen}
    found["pretrained weights"] = header.start.required_sha256
    for part in ("data", "baseline"):
        found |= {f"{part}.{name}": value for name, value in header.config.get(part, {}).items()}
    return found
