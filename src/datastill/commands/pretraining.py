"""Training networks to start from: pretrain."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from .. import distributed
from ..data import DataSettings, load_data
from ..errors import UserError
from ..pretraining import PoolSettings, pretrain
from ..report import spread_of
from ..run import pick_device
from .output import out


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Train many networks on all of the data, to distil for networks that have learned something else before.

    Stopped, the same command goes on with the networks that are not whole yet.

    Examples:
      datastill pretrain digits --network mlp --count 20 --held-out 5
      datastill pretrain usps --data.resize 20 --data.pad 4 --count 50 --out pools/usps.safetensors
      datastill distill mnist-random --initial pool:pools/usps.safetensors         random pretrained
      datastill distill mnist-random --initial "pool:pools/usps.safetensors#3"     one known pretrained network
    """

    name: Positional[str]
    """Name or folder of the real data."""
    settings: Annotated[PoolSettings, tyro.conf.arg(name="")] = field(default_factory=PoolSettings)
    """How."""
    out: Path | None = None
    """The file; pools/DATA-NETWORK.safetensors when left out."""

    def run(self) -> int:
        """Pretrain."""
        named = self.settings.data.name
        if named not in (DataSettings.name, self.name):
            raise UserError(f"the data are named twice, {self.name!r} and --data.name {named!r}; leave the latter out")
        settings = replace(self.settings, data=replace(self.settings.data, name=self.name))
        path = self.out or Path("pools") / f"{Path(self.name).name}-{settings.network}.safetensors"
        data = distributed.on_every_rank(lambda: load_data(settings.data).to(pick_device("auto")))
        pool = pretrain(settings, data, path)
        for name, title in (("training", "to distil with"), ("held_out", "held out")):
            accuracies = pool.header["accuracies"][name]
            if accuracies:
                accuracy_text = spread_of(accuracies)
                out.print(f"{len(accuracies)} networks {title}: {accuracy_text} % of validation images")
        out.print(f"wrote {path}\nuse:  datastill distill RECIPE --initial {shlex.quote(f'pool:{path}')}")
        return 0
