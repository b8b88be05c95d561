"""How many images go through a network at once: so few that they stay in the cache of a processor."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CACHE = 2**23
"""Bytes that the largest output may have, so that the next operation finds it in the cache (docs/LOG.md)."""
MOST = {"cpu": 128, "cuda": 1024}
"""The most images in one pass, by the kind of device: more are no faster, and need more memory."""
IMAGES = 7
"""Images of the pass that is looked at; few tensors other than batches have this size."""


class Reach(NamedTuple):
    """What a pass of a few images shows."""

    nbytes: int
    """The bytes of the largest output of an operation for one image."""
    separate: bool
    """The output for an image does not depend on the other images of the pass, as it does in batch normalisation."""


@torch.no_grad()
def reach(module: nn.Module, shape: tuple[int, ...]) -> Reach:
    """Return what a pass of a few images through a module of these weights shows; `shape` is that of one image."""
    device = next(module.parameters()).device
    images = torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    with _Largest() as largest:
        together = module(images)
    apart = torch.cat([module(few) for few in images.split(IMAGES // 2 + 1)])
    separate = torch.allclose(together, apart, rtol=1e-3, atol=1e-5)
    return Reach(max(images.nbytes, largest.nbytes) // IMAGES, separate)


class _Largest(TorchDispatchMode):
    """Notes the bytes of the largest batch that an operation gives."""

    nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and look at its results."""
        found = func(*args, **kwargs or {})
        for each in tree_leaves(found):
            if isinstance(each, Tensor) and each.shape[:1] == (IMAGES,):
                self.nbytes = max(self.nbytes, each.nbytes)
        return found


def images_for(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many images of a shape are fast to take through a module at once, on its device."""
    return images_in_one_pass(reach(module, shape).nbytes, next(module.parameters()).device)


def images_in_one_pass(nbytes: int, device: torch.device) -> int:
    """Return how many images to take in one pass; `nbytes` are those of the largest output for one image."""
    most = MOST.get(device.type, 1024)
    return max(min(CACHE // max(nbytes, 1), most), 1) if device.type == "cpu" else most
