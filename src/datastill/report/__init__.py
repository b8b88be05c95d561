"""Reports for people: pictures of the synthetic examples, an HTML page about a run, a summary in the terminal."""

from .comparison import write_comparison
from .figures import banner, caption, grid, picture_bytes
from .lines import Line
from .notebook import card
from .page import write_report
from .remarks import remarks
from .summary import as_json, facts, summary
from .words import (
    USE_WITH_TEACHER,
    accuracy_text,
    bytes_of,
    measure_rows,
    measure_text,
    plural,
    score_text,
    spread,
    spread_of,
)

__all__ = [
    "USE_WITH_TEACHER",
    "Line",
    "accuracy_text",
    "as_json",
    "banner",
    "bytes_of",
    "caption",
    "card",
    "facts",
    "grid",
    "measure_rows",
    "measure_text",
    "picture_bytes",
    "plural",
    "remarks",
    "score_text",
    "spread",
    "spread_of",
    "summary",
    "write_comparison",
    "write_report",
]
