"""A run of two iterations that a file is changed of, and that goes on."""

import functools
import tempfile
from pathlib import Path

from datastill.loop import LoopSettings
from datastill.run_state import RunState

from ..test_loop import run


def begin(folder: Path) -> None:
    """Write what two iterations leave behind."""
    for name, content in _after_two().items():
        (folder / name).write_bytes(content)


def go_on(folder: Path) -> RunState:
    """Compute the third iteration."""
    return run(folder, settings=LoopSettings(iterations=3, checkpoint_every=1, validate_every=3), resume=True)


@functools.cache
def _after_two() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), settings=LoopSettings(iterations=2, validate_every=2))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
