"""The examples as a `datasets.Dataset`: one row each, with what a reader sees and the exact values."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..artifact import DistilledSet
from ..program import Ordered
from .images import as_bytes, as_png
from .program import exported_type

if TYPE_CHECKING:
    import datasets

OWN = ("label", "step", "index", "step_sizes", "label_values", "example")
"""The names of columns that examples of every space may have."""


def to_datasets(distilled: DistilledSet) -> "datasets.Dataset":
    """Return the examples as a table; see `DistilledSet.to_datasets`."""
    from datasets import Dataset, Features  # a second

    rows = list(rows_of(distilled))
    shown = _pictures(distilled) | _shown(distilled)
    own = {name: [row[name] for row in rows] for name in OWN if name in rows[0]}
    columns = shown | own | {"example": list(_exact(distilled))}
    types = {name: _type_of(values[0]) for name, values in shown.items()} | _own_types(distilled)
    return Dataset.from_dict(columns, features=Features({name: types[name] for name in columns}))


def _exact(distilled: DistilledSet) -> np.ndarray:
    """Return the examples as networks take them."""
    return distilled.inputs.detach().cpu().to(exported_type(distilled)).numpy()


def _own_types(distilled: DistilledSet) -> dict[str, Any]:
    """Return the types of the columns that examples of every space may have."""
    from datasets import Array2D, Array3D, ClassLabel, Sequence, Value

    kind, dimensions = str(exported_type(distilled)).removeprefix("torch."), len(distilled.shape)
    listed = Sequence(Value("float32"))
    return {
        "label": ClassLabel(names=list(distilled.header.class_names)),
        "step": Value("int32"),
        "index": Value("int32"),
        "step_sizes": listed,
        "label_values": Sequence(listed) if distilled.targets.dim() == 3 else listed,
        "example": {2: Array2D, 3: Array3D}[dimensions](distilled.shape, kind)
        if dimensions > 1
        else Sequence(Value(kind)),
    }


def rows_of(distilled: DistilledSet) -> Iterator[dict[str, Any]]:
    """Yield the row of each example: its label, and its place in ordered steps with its step size in each epoch."""
    order, batch = distilled.program.order, distilled.size // distilled.batches
    for place, number in enumerate(distilled.class_of_each.tolist()):
        row: dict[str, Any] = {"label": number, "class": distilled.header.class_names[number]}
        if isinstance(order, Ordered):
            row |= {"step": place // batch, "index": place % batch}
            row["step_sizes"] = order.step_sizes[:, place // batch].tolist()
        yield row | _label_values(distilled.targets, place)


def _label_values(targets: Tensor, place: int) -> dict[str, Any]:
    """Return the numbers of a soft label, of each epoch if they differ; nothing for a hard one."""
    return {"label_values": targets[..., place, :].tolist()} if targets.is_floating_point() else {}


def _pictures(distilled: DistilledSet) -> dict[str, list[Any]]:
    """Return a column of pictures, if the examples are images that a picture can hold."""
    if "png" not in distilled.header.space.exports or distilled.shape[0] not in (1, 3):
        return {}
    return {"image": [{"bytes": as_png(image), "path": None} for image in as_bytes(distilled)]}


def _shown(distilled: DistilledSet) -> dict[str, list[Any]]:
    """Return the columns of the space; one whose name every table has for something else gets an underscore."""
    columns = distilled.header.space.columns_of(distilled.inputs)
    found: dict[str, list[Any]] = {}
    for name, values in columns.items():
        free = name
        while free in OWN or free in found or (free != name and free in columns):
            free += "_"
        found[free] = values
    return found


def _type_of(value: Any) -> Any:
    """Return the type of a column, given one of its values: a picture, a text, a number or a list of numbers."""
    from datasets import Image, Sequence, Value

    if isinstance(value, dict):
        return Image()
    if isinstance(value, list):
        return Sequence(Value("float64"))
    return Value("string" if isinstance(value, str) else "float64")
