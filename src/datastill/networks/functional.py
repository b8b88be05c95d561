"""Networks as pure functions of one flat parameter vector.

A flat vector makes an inner step one operation, a stack of networks one matrix, and a norm one call; the named
tensors that a module needs are views into it.
"""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from ..errors import UserError
from ..files import digest
from .initial import draw

Factory = Callable[[], nn.Module]

WIDE = 16
"""Channels in and out of a convolution from which on channels-last is the faster layout (docs/LOG.md)."""


class Network:
    """A module as a function ``apply(theta, images)``, for one network or a stack of them.

    Normalisation layers with running statistics use the statistics of the batch at hand; for evaluation,
    `predictor` measures them once on given images. Dropout is off throughout: a pure function draws nothing.

    Parameters that the factory freezes (``requires_grad_(False)``) are constants: no part of theta, never drawn, and
    used as they are. It must give the same ones each time, e.g. pretrained ones.

    Args:
        factory: makes the module; called once here, and again for each draw of the initialiser ``"own"``.
        shape: (channels, height, width) of an image.
        classes: number of outputs.
        name: what to call it in messages and in the artifact.

    Raises:
        UserError: the factory fails, its module cannot take an image of this shape or gives other outputs, or it
            freezes all of its parameters or random ones.
    """

    def __init__(self, factory: Factory, *, shape: tuple[int, int, int], classes: int, name: str) -> None:
        self.factory, self.shape, self.classes, self.name = factory, shape, classes, name
        with torch.random.fork_rng(devices=[]):  # what is drawn here is never used: leave the global generator alone
            self.module = _make(factory, name)
            self._check_frozen()
        named = [(key, parameter) for key, parameter in self.module.named_parameters() if parameter.requires_grad]
        self.names = [key for key, _ in named]
        self.shapes = [parameter.shape for _, parameter in named]
        self.sizes = [parameter.numel() for _, parameter in named]
        self.size = sum(self.sizes)
        self.module.eval()  # no dropout; without running statistics, normalisation still uses those of the batch
        for layer in self.module.modules():
            if isinstance(layer, _NormBase):
                layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
        self._calibrated = copy.deepcopy(self.module)  # the one that has running statistics, for `predictor`
        for layer in batch_norms(self._calibrated):
            layer.track_running_stats, layer.momentum = True, 1.0  # one pass replaces them
            layer.running_mean, layer.running_var = torch.zeros(layer.num_features), torch.ones(layer.num_features)
        self.dtype: torch.dtype | None = None
        self.wide = any(
            isinstance(layer, nn.Conv2d) and min(layer.in_channels, layer.out_channels) >= WIDE
            for layer in self.module.modules()
        )
        self._check()
        self.batches = self._batches()

    def computing(self, dtype: torch.dtype | None) -> "Network":
        """The same network with its layers computed in another precision; weights and logits stay as they are."""
        other = copy.copy(self)
        other.dtype = dtype
        return other

    def _check_frozen(self) -> None:
        if all(not parameter.requires_grad for parameter in self.module.parameters()):
            raise UserError(f"network {self.name!r} freezes all of its parameters: nothing in it can be trained")
        if not self.frozen:
            return
        again = dict(_make(self.factory, self.name).named_parameters())
        drawn = [key for key, value in self.frozen.items() if not torch.equal(value, again[key])]
        if drawn:
            raise UserError(
                f"network {self.name!r} freezes {drawn[0]!r}, which it draws anew each time; load weights for it first"
            )

    @property
    def frozen(self) -> dict[str, Tensor]:
        """The parameters that are constants, by name."""
        return {key: value.detach() for key, value in self.module.named_parameters() if not value.requires_grad}

    def own(self) -> Float[Tensor, " size"]:
        """The weights that the module comes with, e.g. pretrained ones.

        Raises:
            UserError: it draws them at random.
        """
        first, second = self.init("own", [torch.Generator().manual_seed(seed) for seed in (0, 1)])
        if not torch.equal(first, second):
            raise UserError(
                f"network {self.name!r} draws its own weights at random, so that there are none to start from; give "
                "it weights=FILE where it takes them, or name an --initialiser (to distil, with --initial fixed)"
            )
        return first

    def sha256(self, theta: Float[Tensor, " size"] | None = None) -> str:
        """Of frozen parameters, and of weights where they are given; empty where there is nothing."""
        named = self.frozen | (self.named(theta) if theta is not None else {})
        return digest("", {key: value.cpu().contiguous() for key, value in named.items()}) if named else ""

    def _check(self) -> None:
        before = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        images = torch.rand(2, *self.shape, generator=torch.Generator().manual_seed(0))
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                state = torch.get_rng_state()
                out = self.module(images)
                drew = not torch.equal(state, torch.get_rng_state())
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"network {self.name!r} cannot take images of shape {self.shape}: {reason}") from error
        if not isinstance(out, Tensor) or out.shape != (2, self.classes):
            what = f"outputs of shape {tuple(out.shape[1:])}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise UserError(
                f"network {self.name!r} gives {what} for {self.classes} classes; it must return one logit per class"
            )

        changed = [name for name, buffer in self.module.named_buffers() if not _same(buffer, before.get(name, buffer))]
        if changed:
            raise UserError(
                f"network {self.name!r} changes its buffer {changed[0]!r} in its forward pass; training is "
                "differentiated as a function of the weights alone, so keep such state out of it"
            )
        if drew:
            raise UserError(
                f"network {self.name!r} draws random numbers in its forward pass; make it a function of weights and "
                "images alone (dropout is off where it follows the module: F.dropout(x, training=self.training))"
            )

    def _batches(self) -> bool:
        """Whether the module can be batched over weights; one that branches on values of tensors cannot."""
        try:
            with torch.no_grad():
                vmap(self._plain)(torch.zeros(2, self.size), torch.zeros(2, 2, *self.shape))
        except RuntimeError:
            return False
        return True

    def to(self, device: torch.device | str) -> "Network":
        """Move what the modules hold besides theta (buffers, frozen parameters); returns itself."""
        self.module.to(device)
        self._calibrated.to(device)
        return self

    def init(
        self, initialiser: str, generators: list[torch.Generator], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "networks size"]:
        """Initial weights of a type, one row per generator (see `initial.INITIALISERS` for the names)."""
        return torch.stack([draw(self.factory, initialiser, generator, dtype) for generator in generators])

    def named(self, theta: Float[Tensor, " size"]) -> dict[str, Tensor]:
        """The flat vector as the module's named parameters (views)."""
        pieces = theta.split(self.sizes)
        return {name: p.view(shape) for name, p, shape in zip(self.names, pieces, self.shapes, strict=True)}

    def _all(self, theta: Tensor) -> dict[str, Tensor]:
        """Every parameter of the module, frozen ones in the precision of the others."""
        return self.named(theta) | {name: value.to(theta.dtype) for name, value in self.frozen.items()}

    def flat(self, named: dict[str, Tensor]) -> Float[Tensor, " size"]:
        """The inverse of `named`."""
        return torch.cat([named[name].reshape(-1) for name in self.names])

    def apply(self, theta: Float[Tensor, " size"], images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        """Logits of one network."""
        return self._logits(theta, images, self.wide)

    def _plain(self, theta: Tensor, images: Tensor) -> Tensor:
        return self._logits(theta, images, channels_last=False)

    def _logits(self, theta: Tensor, images: Tensor, channels_last: bool) -> Tensor:
        def prepared(tensor: Tensor) -> Tensor:
            tensor = tensor.to(self.dtype) if self.dtype else tensor
            wanted = channels_last and tensor.dim() == 4
            return tensor.contiguous(memory_format=torch.channels_last) if wanted else tensor

        named = {name: prepared(weights) for name, weights in self._all(theta).items()}
        return functional_call(self.module, named, (prepared(images),)).to(theta.dtype)

    def apply_many(
        self, thetas: Float[Tensor, "networks size"], images: Float[Tensor, "networks b c h w"]
    ) -> Float[Tensor, "networks b classes"]:
        """Logits of each network on its own images, as one batched program."""
        if thetas.shape[0] == 1 or not self.batches:  # a plain convolution is faster than one with a single group
            return torch.stack([self.apply(theta, batch) for theta, batch in zip(thetas, images, strict=True)])
        return vmap(self._plain)(thetas, images)

    @property
    def has_statistics(self) -> bool:
        """Whether evaluation needs recalibrated batch statistics."""
        return any(True for _ in batch_norms(self.module))

    def predictor(
        self, theta: Float[Tensor, " size"], images: Float[Tensor, "b c h w"]
    ) -> Callable[[Tensor], Float[Tensor, "b classes"]]:
        """One trained network as a function of images, its batch statistics measured on `images`.

        These are training (synthetic) images: statistics of the test batch would let test images help each other.
        """
        if not self.has_statistics:
            return lambda batch: self.apply(theta, batch)
        module, named = self._calibrated, self._all(theta)
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        for layer in batch_norms(module):
            layer.train()
        functional_call(module, (named, buffers), (images,))
        module.eval()
        return lambda batch: functional_call(module, (named, buffers), (batch,))


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))


def _make(factory: Factory, name: str) -> nn.Module:
    try:
        return factory()
    except UserError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"network {name!r} cannot be made: {(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from error


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The layers with running statistics."""
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
