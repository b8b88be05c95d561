"""Networks as pure functions of one flat parameter vector.

With a flat vector, an inner step is one operation, a stack of networks is one matrix, and a norm is one call. The
named tensors that a module needs are views into this vector.
"""

import copy
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..errors import UserError
from ..modes import usual_modes
from ..storage.files import digest
from ..user_modules import one_line, out_of_memory
from .checks import check_constants, check_forward, check_gradient, without_statistics
from .draws import seeded
from .initial import draw
from .making import Factory, make
from .passes import Reach, images_in_one_pass, reach
from .stateless import Stateless
from .twice import TwiceDifferentiable

CHANNELS_LAST_FROM = 16
"""Least number of input and output channels with which a convolution is faster in channels-last (docs/LOG.md)."""


class Nature(NamedTuple):
    """What the checks of a module find."""

    needs_other_forms: bool
    """Operations need their `TwiceDifferentiable` form."""
    sees_images: bool
    """A gradient reaches the images."""
    batches: bool
    """Several networks can run as one batched program."""


class Network:
    """A module as a function ``apply(theta, images)``, for one network or a stack of them.

    Normalisation layers with running statistics use the statistics of each batch; for evaluation, `predictor` measures
    the statistics once, on given images. Dropout is always off, because a pure function draws no random numbers.

    Frozen parameters (``requires_grad_(False)``) are constants: they are not in theta and are never drawn. Buffers, and
    tensors, arrays and lists of floats in attributes, are constants too. The factory must make equal constants at each
    call, e.g. pretrained weights, or random numbers from a generator with a fixed seed.

    Wrappers (`DataParallel`, `torch.compile`) are removed, lazy layers get their sizes, and weights become float32.
    Attention is computed in a form that can be differentiated twice.

    Args:
        factory: makes the module; called once here, and again for each draw of initial weights.
        shape: (channels, height, width) of an image.
        classes: number of outputs.
        name: the name of the network in messages and in the file of a set.
        nature: what the checks found when this network was made before; then they are left out.

    Raises:
        UserError: the factory fails; its module cannot take an image of this shape or has other outputs; the module
            depends on more than weights and images; all of its parameters are frozen, or random ones are.
    """

    @usual_modes()
    def __init__(
        self, factory: Factory, *, shape: tuple[int, ...], classes: int, name: str, nature: Nature | None = None
    ) -> None:
        self.factory: Factory = functools.partial(make, factory, shape, name)
        self.shape, self.classes, self.name = shape, classes, name
        with seeded(0):  # these weights are never used: the global generators stay unchanged
            self.module = self.factory()
        named = [(key, parameter) for key, parameter in self.module.named_parameters() if parameter.requires_grad]
        if not named:
            why = "freezes all of its parameters" if list(self.module.parameters()) else "has no parameters"
            raise UserError(f"network {name!r} {why}: nothing in it can be trained")
        self.names = [key for key, _ in named]
        self.shapes = [parameter.shape for _, parameter in named]
        self.sizes = [parameter.numel() for _, parameter in named]
        self.size = sum(self.sizes)
        without_statistics(self.module)
        self._buffers = [key for key, buffer in self.module.named_buffers() if buffer.is_floating_point()]
        self._pure = Stateless(self.module)
        copied = copy.deepcopy(self.module) if self.has_statistics else self.module
        self._calibrated = Stateless(copied)  # has running statistics, for `predictor`
        for layer in batch_norms(copied):
            layer.track_running_stats, layer.momentum = True, 1.0  # one pass replaces them
            layer.running_mean, layer.running_var = torch.zeros(layer.num_features), torch.ones(layer.num_features)
        self.dtype: torch.dtype | None = None
        self.wide = is_wide(self.module)
        self.nature = nature or self._checked()

    def _checked(self) -> Nature:
        with seeded(0):
            other_forms = check_forward(self.module, self.shape, self.classes, self.name)
            check_constants(self.module, self.factory, self.shape, self.name)
            sees_images = check_gradient(self.module, self.shape, self.name)
        self.nature = Nature(other_forms, sees_images, batches=False)  # which is found out with it
        return self.nature._replace(batches=self._batches())

    @property
    def batches(self) -> bool:
        """Whether several networks can run as one batched program."""
        return self.nature.batches

    def computing(self, dtype: torch.dtype | None) -> "Network":
        """Return this network with its layers computed in another precision; weights and logits keep their type."""
        other = copy.copy(self)
        other.dtype = dtype
        if dtype:
            other._check_precision()
        return other

    @torch.no_grad()
    def _check_precision(self) -> None:
        device = next(self.module.parameters()).device
        try:
            self.apply(torch.zeros(self.size, device=device), torch.zeros(2, *self.shape, device=device))
        except Exception as error:
            if out_of_memory(error):
                raise
            raise UserError(
                f"network {self.name!r} cannot be computed in {str(self.dtype).removeprefix('torch.')}: "
                f"{one_line(error)}; take --method.engine.precision float32"
            ) from error

    @property
    def drops(self) -> bool:
        """Whether the module has dropout, which is off here."""
        return any(isinstance(each, _DropoutNd) and each.p > 0 for each in self.module.modules())

    @property
    def frozen(self) -> dict[str, Tensor]:
        """The frozen parameters, by name."""
        return {key: value.detach() for key, value in self.module.named_parameters() if not value.requires_grad}

    @functools.cached_property
    def _reach(self) -> Reach:
        with seeded(0):
            return reach(self.module, self.shape)

    @property
    def separate(self) -> bool:
        """Whether the logits of an image are equal in every batch, whatever the other images of the batch are."""
        return not self.has_statistics and self._reach.separate

    def images_in_one_pass(self, device: torch.device) -> int:
        """Return how many images are fast to take through this network at once, on a kind of device."""
        return images_in_one_pass(self._reach.nbytes, device)

    def images_of_training(self, device: torch.device) -> int:
        """Return how many images give a gradient at once; 0: the whole batch, if outputs depend on all of it.

        Each piece adds to the gradient of all weights, so there are no pieces of fewer bytes than the weights have.
        """
        worth = -(-self.size * torch.float32.itemsize // self._reach.nbytes)
        return max(self.images_in_one_pass(device), worth) if self.separate else 0

    def pieces(self, images: Float[Tensor, "n *shape"]) -> tuple[Float[Tensor, "few *shape"], ...]:
        """Return images in pieces of as many as are fast to take at once; in one piece if they depend on each other."""
        return images.split(self.images_in_one_pass(images.device) if self.separate else len(images))

    def own(self) -> Float[Tensor, " size"]:
        """Return the weights that the factory gives the module, e.g. pretrained weights.

        Raises:
            UserError: the factory draws the weights at random.
        """
        first, second = self.init("own", [torch.Generator().manual_seed(seed) for seed in (0, 1)])
        if not torch.equal(first, second):
            raise UserError(
                f"network {self.name!r} draws its weights at random, so it has no pretrained ones to start from; add "
                "weights=FILE if the network accepts it, or take --start 'random(xavier)' or 'fixed(xavier)'"
            )
        return first

    def sha256(self, theta: Float[Tensor, " size"] | None = None) -> str:
        """Return the SHA-256 of the frozen parameters and of `theta`, if given; empty if there are neither."""
        named = self.frozen | (self.named(theta) if theta is not None else {})
        return digest("", {key: value.cpu().contiguous() for key, value in named.items()}) if named else ""

    def must_see_images(self) -> None:
        """Raise a `UserError` unless a gradient reaches the images; without it, no synthetic images can be learned."""
        if not self.nature.sees_images:
            raise UserError(
                f"network {self.name!r} passes no gradient from its output to the images (detach, argmax, an embedding "
                "or other integers stop it), so no synthetic images can be learned with it; take a network that is "
                "differentiable in the images"
            )

    def _batches(self) -> bool:
        """Return whether several networks can run as one batched program; not if it branches on values of tensors."""
        thetas = torch.zeros(2, self.size, requires_grad=True)
        try:
            out = vmap(self._plain)(thetas, torch.zeros(2, 2, *self.shape))
            torch.autograd.grad(out.sum(), thetas)  # with recomputed activations, only this line fails
        except Exception as error:  # vmap and a user's code raise many kinds
            if out_of_memory(error):
                raise
            return False
        return True

    def to(self, device: torch.device | str) -> "Network":
        """Move buffers and frozen parameters to a device; return this network."""
        self.module.to(device)
        self._calibrated.module.to(device)
        return self

    @usual_modes()
    def init(
        self, initialiser: str, generators: list[torch.Generator], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "networks size"]:
        """Draw initial weights, one row per generator. `initial.INITIALISERS` lists the initialisers."""
        return torch.stack([draw(self.factory, initialiser, generator, dtype) for generator in generators])

    def named(self, theta: Float[Tensor, " size"]) -> dict[str, Tensor]:
        """Return the module's trained parameters by name, as views into the flat vector `theta`."""
        pieces = theta.split(self.sizes)
        return {name: p.view(shape) for name, p, shape in zip(self.names, pieces, self.shapes, strict=True)}

    def _all(self, theta: Tensor) -> dict[str, Tensor]:
        """Return all parameters of the module by name; frozen ones get the type of `theta`."""
        return self.named(theta) | {name: value.to(theta.dtype) for name, value in self.frozen.items()}

    def flat(self, named: dict[str, Tensor]) -> Float[Tensor, " size"]:
        """Return named parameters as one flat vector, the inverse of `named`."""
        return torch.cat([named[name].reshape(-1) for name in self.names])

    def apply(self, theta: Float[Tensor, " size"], images: Float[Tensor, "b *shape"]) -> Float[Tensor, "b classes"]:
        """Return the logits of one network."""
        return self._logits(theta, images, self.wide)

    def in_pieces(self, theta: Float[Tensor, " size"], images: Float[Tensor, "n *shape"]) -> Float[Tensor, "n classes"]:
        """Return the logits of one network, for a few images at a time (`pieces`)."""
        return torch.cat([self.apply(theta, each) for each in self.pieces(images)])

    def _plain(self, theta: Tensor, images: Tensor) -> Tensor:
        return self._logits(theta, images, channels_last=False)

    def _logits(self, theta: Tensor, images: Tensor, channels_last: bool) -> Tensor:
        def prepared(tensor: Tensor) -> Tensor:
            tensor = tensor.to(self.dtype) if self.dtype else tensor
            if not channels_last or tensor.dim() != 4:
                return tensor
            if tensor.shape[1] > 1:
                return tensor.contiguous(memory_format=torch.channels_last)
            # One channel is contiguous in both layouts, so the strides decide, and only a copy sets them.
            return tensor.clone(memory_format=torch.channels_last)

        named = {name: prepared(weights) for name, weights in self._all(theta).items()}
        buffers = {key: self.module.get_buffer(key).to(self.dtype or theta.dtype) for key in self._buffers}
        with self._forms():
            return self._pure(named, buffers, prepared(images)).to(theta.dtype)

    def _forms(self) -> AbstractContextManager[Any]:
        """Return the context in which operations can be differentiated twice; it does nothing if none needs it."""
        return TwiceDifferentiable() if self.nature.needs_other_forms else nullcontext()

    def apply_many(
        self, thetas: Float[Tensor, "networks size"], images: Float[Tensor, "networks b *shape"]
    ) -> Float[Tensor, "networks b classes"]:
        """Return the logits of network i on `images[i]` for each i, computed in one batched program if possible."""
        if thetas.shape[0] == 1 or not self.batches:  # a plain convolution is faster than one with a single group
            return torch.stack([self.apply(theta, batch) for theta, batch in zip(thetas, images, strict=True)])
        return vmap(self._plain)(thetas, images)

    @property
    def has_statistics(self) -> bool:
        """Whether batch statistics must be measured before evaluation."""
        return any(True for _ in batch_norms(self.module))

    def predictor(
        self, theta: Float[Tensor, " size"], images: Float[Tensor, "b *shape"]
    ) -> Callable[[Tensor], Float[Tensor, "b classes"]]:
        """Return one trained network as a function of images; its batch statistics are measured on `images`.

        Give training images (synthetic ones): with statistics of a test batch, test images would help each other.
        """
        if not self.has_statistics:
            return lambda batch: self.apply(theta, batch)
        pure, named, buffers = self._calibrated, self._all(theta), self._measured(theta, images)

        def predict(batch: Tensor) -> Tensor:
            with self._forms():
                return pure(named, buffers, batch)

        return predict

    def _measured(self, theta: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Return all buffers by name, with the batch statistics of one network on `images`."""
        pure = self._calibrated
        buffers = {name: buffer.clone() for name, buffer in pure.module.named_buffers()}
        for layer in batch_norms(pure.module):
            layer.train()
        with self._forms():
            pure(self._all(theta), buffers, images)
        pure.module.eval()
        return buffers

    @torch.no_grad()
    def statistics(self, theta: Float[Tensor, " size"], images: Float[Tensor, "b *shape"]) -> Float[Tensor, " numbers"]:
        """Return the batch statistics of one network on `images`, as one flat vector; empty if it has none."""
        found = self._measured(theta, images) if self.has_statistics else {}
        return torch.cat([torch.zeros(0), *(found[name].flatten().cpu() for name in self._running)])

    @property
    def _running(self) -> dict[str, torch.Size]:
        """The shapes of running means and variances by name."""
        buffers = dict(self._calibrated.module.named_buffers())
        layers = set(batch_norms(self._calibrated.module))
        paths = [path for path, layer in self._calibrated.module.named_modules() if layer in layers]
        names = [f"{path}.{key}".removeprefix(".") for path in paths for key in ("running_mean", "running_var")]
        return {name: buffers[name].shape for name in names}

    def with_weights(
        self, theta: Float[Tensor, " size"], statistics: Float[Tensor, " numbers"] | None = None
    ) -> nn.Module:
        """Return a new module with these weights, in evaluation mode.

        Args:
            theta: the weights.
            statistics: running statistics of batch normalisation, as `statistics` returns them.
        """
        with seeded(0):  # the weights that the factory draws are replaced
            module = self.factory()
        running = self._running if statistics is not None else {}
        pieces = statistics.split([shape.numel() for shape in running.values()]) if statistics is not None else ()
        state = {name: piece.view(shape) for (name, shape), piece in zip(running.items(), pieces, strict=True)}
        module.load_state_dict(self.named(theta) | state, strict=False)
        return module.eval()


def is_wide(module: nn.Module) -> bool:
    """Return whether channels-last is a faster and safe layout for the module's convolutions."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    return any(min(each.in_channels, each.out_channels) >= CHANNELS_LAST_FROM for each in layers) and not any(
        map(_crashes, layers)
    )


def _crashes(layer: nn.Conv2d) -> bool:
    """Return whether PyTorch's channels-last gradient crashes: a strided 1x1 convolution of few channels."""
    few = layer.in_channels // layer.groups < CHANNELS_LAST_FROM  # seen with 2 to 6
    return few and layer.kernel_size == (1, 1) and max(layer.stride) > 1


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the layers with running statistics."""
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
