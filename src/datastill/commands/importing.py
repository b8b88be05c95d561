"""The command that makes a distilled set of the files of another project: import."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ..data import DataSettings, load_data
from ..methods.base import Mirror
from ..networks.start import Random, Start
from ..program import ShuffledName
from ..shared_sets import Values, distilled_from, read_shared
from ..storage.files import must_be_new
from .output import out, print_json

KAIMING = Random("kaiming")


@dataclass(frozen=True, kw_only=True)
class ImportSet:
    """Make a distilled set of a set that another project shares, so that it can be evaluated beside others.

    The files do not say how pixels were normalised, for which network the set was made and how networks are trained on
    it: give what its paper says. No file can run code. For sets of whitened images (ZCA), whiten the real data, too.

    Examples:
      datastill import kip.npz --data cifar10 --values unit --to kip.safetensors        arrays images and labels
      datastill import res_DC_CIFAR10.pt --data cifar10 --number 2 --to dc.safetensors  the third of several sets
      datastill import images_best.pt --labels labels_best.pt --data cifar10 --to mtt.safetensors
      datastill import images_best.pt --labels labels_best.pt --data cifar10 --whiten 0.1 --to mtt.safetensors
      datastill import pictures --data ./my-images --to mine.safetensors                a folder for each class
      datastill evaluate dc.safetensors mtt.safetensors --networks 5                    then compare them
    """

    file: Positional[Path]
    """The set: a file .npz, .pt or .pth, or a folder with a folder of pictures for each class."""
    data: str
    """Name or folder of the real data that the set stands for: its classes, image size, mean and standard deviation."""
    to: Path
    """The file to write."""
    labels: Path | None = None
    """The file of the labels, if the first file holds images alone."""
    number: int = 0
    """Which set of a file with several, from 0."""
    values: Values = "auto"
    """What the numbers of the images are:
    - normalised: (pixel - mean) / std; with --whiten, after whitening.
    - unit: pixels in 0..1.
    - bytes: pixels in 0..255.
    - auto: bytes for pictures and whole numbers, otherwise normalised; said in one line if all lie in 0..1."""
    mean: tuple[float, ...] = ()
    """Mean of each channel by which the values are normalised; if not given: that of the real data."""
    std: tuple[float, ...] = ()
    """Standard deviation of each channel by which they are normalised; if not given: that of the real data."""
    whiten: float = 0.0
    """The set is for whitened images (ZCA) with this regularisation: real images are whitened by the train images of
    the real data, e.g. 0.1 for trajectory matching. 0: no whitening."""
    network: str = "convnet"
    """The network that the set was made for (datastill list networks)."""
    start: Start = KAIMING
    """The initial weights that it was made for (datastill list starts)."""
    program: ShuffledName = "shuffled-300"
    """How networks are trained on it (datastill list programs)."""
    mirror: Mirror = True
    """mirror: the program may mirror images left to right. no-mirror, for digits and letters: it does not."""
    source: str = ""
    """Where the set comes from, such as an address; kept with it."""
    json: bool = False
    """Print what the set holds as JSON."""

    def run(self) -> int:
        """Write the distilled set, say what it holds, and return the exit code."""
        must_be_new(self.to)
        data = load_data(DataSettings(whiten=self.whiten).named(self.data))
        found = read_shared(self.file, data, self.labels, self.number)
        distilled = distilled_from(
            found,
            data,
            network=self.network,
            start=self.start,
            program=self.program,
            values=self.values,
            mean=self.mean,
            std=self.std,
            mirror=self.mirror,
            source=self.source or self.file.name,
        )
        distilled.save(self.to)
        labels = "hard" if distilled.hard else distilled.header.labels.words
        if self.json:
            sizes = {"examples": distilled.size, "classes": distilled.classes}
            return print_json({"file": str(self.to), **sizes, "labels": labels})
        out.print(f"wrote {self.to}: {distilled.size} images of {distilled.classes} classes with {labels} labels")
        return 0
