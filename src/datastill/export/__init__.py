"""A distilled set in the formats of other tools: PNG images, a NumPy archive, a parquet dataset.

Every export holds all that training needs: the numbers (program.json), the network (network.py), the training in plain
PyTorch (fit.py) and stored initial weights. A folder of PNG images is not exact: a synthetic pixel leaves [0, 1] and is
not a multiple of 1/255; `png_loss` measures what that costs.
"""

from .images import SPLIT_WORDS, Loss, as_bytes, class_folders, png_loss
from .program import Kind
from .write import export

__all__ = ["SPLIT_WORDS", "Kind", "Loss", "as_bytes", "class_folders", "export", "png_loss"]
