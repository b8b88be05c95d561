"""A module as a function of its weights: a call uses the given tensors and leaves the module unchanged."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


class Stateless:
    """Calls a module with given weights, even if a layer or a weight has several names in the module.

    Args:
        module: the module; a call may change only the buffers that are given to this call.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        names = {parameter: name for name, parameter in module.named_parameters()}
        self._places = {  # each layer once: with several names, `functional_call` would restore it wrongly
            f"{path}.{key}".removeprefix("."): names[parameter]
            for path, layer in module.named_modules()
            for key, parameter in layer._parameters.items()
            if parameter is not None
        }
        self._attributes = [
            (vars(layer), key) for layer in module.modules() for key, value in vars(layer).items() if _is_tensor(value)
        ]

    def __call__(self, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor) -> Any:
        """Return the module's output for `images`, with these weights and buffers by name."""
        tensors = {place: weights[name] for place, name in self._places.items()}
        before = [(place, key, place[key]) for place, key in self._attributes]
        try:
            return functional_call(self.module, tensors | dict(buffers), (images,), tie_weights=False)
        finally:  # `weight_norm` stores the weight of the last call
            for place, key, value in before:
                place[key] = value


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
