"""Train a user's model on synthetic examples, as `DistilledSet.fit` describes."""

import functools
from collections.abc import Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .errors import UserError
from .modes import trainable
from .program import Program, labels_from, train_module
from .storage.files import digest
from .user_modules import (
    check_logits,
    fill_lazy_layers,
    one_line,
    out_of_memory,
    parameters_by_name,
    precision_of,
    unwrapped,
)

FINE_PRECISIONS = (torch.float32, torch.float64)
"""The precisions that are fine enough for training: coarser ones round small steps away."""


def checked(model: nn.Module, inputs: Float[Tensor, "b *shape"], what: str) -> nn.Module:
    """Return the model without wrappers, with the size of every layer known.

    Args:
        model: a user's model.
        inputs: a batch; the sizes of layers such as `nn.LazyLinear` follow from it.
        what: the words for the batch in a message, e.g. ``images of shape (channels, height, width)``.

    Raises:
        UserError: the model is not a module, has no trainable weights, or cannot be trained in its precision.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"the model is a {type(model).__name__}; give a torch.nn.Module, e.g. an instance of a class")
    core = unwrapped(model)
    try:
        fill_lazy_layers(core, inputs.clone())
    except Exception as error:  # a user's code can raise anything
        if out_of_memory(error):
            raise
        raise _refused(what, inputs, error) from error
    if any(p.is_inference() or p.is_meta for p in core.parameters()):
        raise UserError(
            "the model's weights cannot be trained, because they were made in torch.inference_mode() or on the device "
            "'meta'; make the model without them"
        )
    _check_weights(core)
    return core


def _check_weights(core: nn.Module) -> None:
    parameters = _trained(core)
    if not parameters:
        raise UserError("all parameters of the model are frozen (requires_grad=False), so nothing in it can be trained")
    if precision_of(parameters, "the model") not in FINE_PRECISIONS:
        raise UserError(
            f"the model's weights are {str(parameters[0].dtype).removeprefix('torch.')}, which rounds small steps "
            "away; train it in float32 (model.float()) and convert it afterwards"
        )
    for layer in core.modules():
        if isinstance(layer, torch.jit.ScriptModule) and "BatchNorm" in layer.original_name:
            raise UserError(
                "the model is a TorchScript module with batch normalisation, which cannot be set to use the statistics "
                "of each batch; fit the plain module, then script it"
            )


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def train(
    model: nn.Module,
    program: Program,
    inputs: Float[Tensor, "n *shape"],
    targets: Shaped[Tensor, "*epochs_n_classes"],
    *,
    classes: int,
    what: str,
    seed: int = 0,
    teacher: nn.Module | None = None,
) -> None:
    """Train the model in place by a program; `what` are the words for the inputs in a message.

    Dropout is off, and batch normalisation uses the statistics of each batch. Afterwards the model is in evaluation
    mode, and its running statistics of batch normalisation are computed from all examples.

    Raises:
        UserError: the model cannot take the examples, or does not return one logit per class; the program does not fit
            the number of examples.
    """
    norms = [layer for layer in model.eval().modules() if isinstance(layer, _BatchNorm)]
    for layer in norms:
        layer.train()
    parameters = _trained(model)
    device, dtype = parameters[0].device, parameters[0].dtype
    inputs = trainable(inputs).to(device, dtype)
    targets = trainable(targets).to(device, dtype if targets.is_floating_point() else None)
    try:
        logits = functools.partial(_logits, model, classes, what)
        train_module(logits, parameters, inputs, targets, program, seed, labels_from(teacher, device))
    except RuntimeError as error:  # from the way back
        if out_of_memory(error):
            raise
        raise UserError(f"the model cannot be differentiated: {one_line(error)}") from error
    if norms:
        _measure_statistics(model, norms, inputs)
    model.eval()
    if not all(bool(p.isfinite().all()) for p in parameters):
        raise UserError(
            "the model's weights are not finite after the training: its logits are not finite, or the step sizes are "
            "too large for it; use the network and the initial weights that the set was made for"
        )


def _logits(model: nn.Module, classes: int, what: str, inputs: Tensor) -> Tensor:
    try:
        logits = model(inputs.clone())  # a model that changes its input in place leaves the set unchanged
    except Exception as error:  # a user's code can raise anything
        if out_of_memory(error):
            raise
        raise _refused(what, inputs, error) from error
    check_logits(logits, len(inputs), classes, "the model")
    if not logits.requires_grad:
        raise UserError(
            "no weight of the model leads to its output, so it cannot be trained; remove no_grad and detach from it"
        )
    return logits


def _refused(what: str, inputs: Tensor, error: Exception) -> UserError:
    return UserError(f"the model cannot take {what} = {tuple(inputs.shape[1:])}: {one_line(error)}")


def _measure_statistics(model: nn.Module, norms: list[_BatchNorm], images: Tensor) -> None:
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 1.0
    with torch.no_grad():
        model(images.clone())
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def must_have(model: nn.Module, sha256: str, network: str) -> None:
    """Raise a `UserError` unless the model's weights have this SHA-256, the one that the set was made for."""
    named = {name: value.detach().cpu().contiguous() for name, value in parameters_by_name(model).items()}
    if digest("", named) != sha256:
        raise UserError(
            f"the set was made for the pretrained weights of network {network!r}, but this model has other weights; "
            "make it with build_network(...).factory(), or train it from its own weights with use_initial=False"
        )


def load_weights(model: nn.Module, stored: Mapping[str, Tensor], network: str) -> None:
    """Copy stored initial weights into the model's parameters by name.

    Raises:
        UserError: the names or shapes of the weights and of the model's parameters differ.
    """
    ours = parameters_by_name(model)
    found = {name: tuple(value.shape) for name, value in stored.items()}
    frozen = {name for name, value in ours.items() if not value.requires_grad} - found.keys()
    expected = {name: tuple(value.shape) for name, value in ours.items() if name not in frozen}
    if found != expected:
        wrong = sorted(dict(found.items() ^ expected.items()))
        some = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise UserError(
            f"the stored initial weights are for {network!r} and do not fit this model: {some} differ; make the model "
            "with build_network(...).factory(), or train it from other weights with use_initial=False"
        )
    with torch.no_grad():
        for name, value in stored.items():
            ours[name].copy_(value)
