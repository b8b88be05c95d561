"""What a terminal may be given."""

import unicodedata

from datastill.storage.records import CONTROL_CATEGORIES


def must_be_one_line(text: str) -> None:
    """Raise an AssertionError if a text has an end of a line, or characters that command a terminal."""
    assert not any(unicodedata.category(each) in CONTROL_CATEGORIES for each in text), ascii(text)
