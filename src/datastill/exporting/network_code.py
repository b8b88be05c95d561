"""The code of a network of datastill as one file that needs only torch, so that it runs without datastill."""

import ast
import sys
from pathlib import Path

from ..networks import NETWORKS, parse

STANDALONE = Path(__file__).parent / "standalone"
NEEDED = "jaxtyping"
"""Package that networks import for annotations only; ``from __future__ import annotations`` never evaluates them."""


def network_code(spec: str, shape: tuple[int, ...], classes: int) -> str:
    """Return Python code with a function ``make_network()``, for a network named as in the header of a set.

    A network of the user's own is never imported here: then ``make_network()`` raises an error that says so.
    """
    name, arguments = parse(spec)
    if name not in NETWORKS:
        return _own_network(spec, shape, classes)
    body = "\n\n\n".join(without_own_imports(path) for path in _files(_file_of(name)))
    support = (STANDALONE / "network_support.py").read_text(encoding="utf-8")
    return f"""# The network {spec}, as one file that needs only torch.
{support}

{body}


def make_network(**changes):
    \"\"\"The network that the set was made for; `changes` replace its arguments, e.g. weights="FILE".\"\"\"
    return {name}(shape={shape!r}, classes={classes!r}, **{{**{arguments!r}, **changes}})
"""


def _own_network(spec: str, shape: tuple[int, ...], classes: int) -> str:
    reason = (
        f"the set is for {spec}, a network written by the maker of the set; get its code from there, and make it for "
        f"examples of shape {shape} and {classes} classes"
    )
    return f"def make_network(**changes):\n    raise NotImplementedError({reason!r})\n"


def _file_of(name: str) -> Path:
    return Path(str(sys.modules[NETWORKS[name].__module__].__file__))


def _files(path: Path) -> list[Path]:
    """Return the files that the file of a network imports from in its folder, and then the file itself."""
    found: list[Path] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module != "weights":
            found += _files(path.with_name(f"{node.module}.py"))
    return list(dict.fromkeys([*found, path]))


def without_own_imports(path: Path) -> str:
    """Return the code without its imports from datastill and without imports for annotations."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and (node.level or node.module == NEEDED):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(lines).strip()
