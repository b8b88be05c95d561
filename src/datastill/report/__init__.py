"""Reports for people: pictures of the synthetic examples, an HTML page about a run, a summary in the terminal."""

from .charts import Line, lines_chart
from .figures import banner, caption, grid, picture_bytes
from .page import write_report
from .remarks import remarks
from .summary import as_json, summary
from .words import bytes_of, plural, score_text, spread, spread_of

__all__ = [
    "Line",
    "as_json",
    "banner",
    "bytes_of",
    "caption",
    "grid",
    "lines_chart",
    "picture_bytes",
    "plural",
    "remarks",
    "score_text",
    "spread",
    "spread_of",
    "summary",
    "write_report",
]
