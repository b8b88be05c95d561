"""The code of an augmentation of datastill as one file that needs only torch, so that it runs without datastill."""

from pathlib import Path

from .. import program
from ..program import Augmentation
from .network_code import STANDALONE, without_own_imports

FILES = ("augmentation.py", "siamese.py")
"""The files of all augmentations, in the order in which they need each other."""


def augmentation_code(augmentation: Augmentation) -> str:
    """Return Python code with a function ``make_augmentation(kind, **settings)``, for the settings in program.json."""
    folder = Path(str(program.__file__)).parent
    body = "\n\n\n".join(without_own_imports(folder / name) for name in FILES)
    support = (STANDALONE / "augmentation_support.py").read_text(encoding="utf-8")
    return f"""# The augmentation of the examples, as one file that needs only torch.
{support}

{body}


def make_augmentation(kind, **settings):
    \"\"\"Return the augmentation: draw(count, shape, generator) gives a change of a batch of images.\"\"\"
    return {type(augmentation).__name__}(**settings)
"""
