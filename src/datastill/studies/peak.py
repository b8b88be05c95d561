"""The largest memory that this process takes while something is computed."""

import threading
from types import TracebackType

import psutil

INTERVAL_S = 0.05


class PeakMemory:
    """Watches the resident memory of this process while a ``with`` block runs.

    Examples:
        >>> with PeakMemory() as peak:
        ...     compute()
        >>> peak.nbytes
    """

    def __init__(self) -> None:
        self.nbytes = 0
        """The largest number of resident bytes that was seen; looked up every 50 milliseconds."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self.nbytes = max(self.nbytes, process.memory_info().rss)
            if self._ended.wait(INTERVAL_S):
                return
