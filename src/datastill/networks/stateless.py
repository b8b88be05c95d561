"""A module as a function of its weights: every call puts given tensors in, and leaves the module as it was."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


class Stateless:
    """Calls a module with other weights, also where one module or one weight has several names in it.

    Args:
        module: in which only buffers that are given to a call may change.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        names = {parameter: name for name, parameter in module.named_parameters()}
        self._places = {  # each module once, whatever its names are: `functional_call` would put it back wrongly
            f"{path}.{key}".removeprefix("."): names[parameter]
            for path, layer in module.named_modules()
            for key, parameter in layer._parameters.items()
            if parameter is not None
        }
        self._attributes = [
            (vars(layer), key) for layer in module.modules() for key, value in vars(layer).items() if _is_tensor(value)
        ]

    def __call__(self, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor) -> Any:
        """The module's output with these weights and buffers, by name."""
        tensors = {place: weights[name] for place, name in self._places.items()}
        before = [(place, key, place[key]) for place, key in self._attributes]
        try:
            return functional_call(self.module, tensors | dict(buffers), (images,), tie_weights=False)
        finally:  # `weight_norm` keeps the weight of the last call
            for place, key, value in before:
                place[key] = value


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
