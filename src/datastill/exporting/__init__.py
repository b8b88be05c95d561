"""Exports of a distilled set for other tools: PNG images, a NumPy archive or a parquet dataset.

Every export holds all that training needs: the numbers (program.json), the network (network.py), the training in plain
PyTorch (fit.py) and stored initial weights. A folder of PNG images is not exact: synthetic pixels can lie outside
[0, 1] and are not multiples of 1/255. `png_loss` measures the difference.
"""

from .images import SPLIT_WORDS, Loss, as_bytes, class_folders, png_loss
from .parquet import write_table
from .program import Kind
from .table import to_datasets
from .write import export

__all__ = [
    "SPLIT_WORDS",
    "Kind",
    "Loss",
    "as_bytes",
    "class_folders",
    "export",
    "png_loss",
    "to_datasets",
    "write_table",
]
