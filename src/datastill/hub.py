"""Sets on the Hugging Face hub: a repository of data with the file of the set, a card, a picture and a table.

A set from the hub is a stranger's file. It is read as every other file of a set, and nothing else of the repository is
opened: no code, no pickle, no configuration.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from .artifact import NAME, DistilledSet
from .errors import UserError
from .exporting import write_table
from .report import facts, grid, picture_bytes
from .terminal import one_line

T = TypeVar("T")
PICTURE = "examples.png"
"""The name of the picture of the examples in a repository."""
TASKS = {
    "pixels": "image-classification",
    "whitened": "image-classification",
    "vectors": "tabular-classification",
    "signals": "other",
    "tokens": "text-classification",
}
"""The kind of task that the hub lists a set under, by the kind of its space."""
UNKNOWN = "unknown"
"""The licence of data whose licence is not given."""
_MARKS = re.compile(r"[\\`*_{}\[\]()<>#!|~$&:@]")
"""The characters by which a text could become markup."""


def push_to_hub(distilled: DistilledSet, name: str, *, licence: str = UNKNOWN, private: bool = False) -> str:
    """Upload a set; see `DistilledSet.push_to_hub`."""
    from huggingface_hub import HfApi

    with TemporaryDirectory(prefix="datastill-") as folder:
        write_repository(distilled, Path(folder), name=name, licence=licence)
        api: Any = HfApi()

        def upload() -> str:
            api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=folder, repo_type="dataset", commit_message="Distilled set")
            return f"https://huggingface.co/datasets/{name}"

        advice = "give a name such as owner/name, and log in with: hf auth login"
        return _asked(upload, f"cannot upload the set to {name!r}", advice)


def from_hub(name: str, *, revision: str | None = None, trust: bool = False) -> DistilledSet:
    """Download and read a set; see `DistilledSet.from_hub`."""
    from huggingface_hub import hf_hub_download

    def download() -> str:
        return str(hf_hub_download(name, NAME, repo_type="dataset", revision=revision))

    wanted = f"it must be the name of a repository of data that holds {NAME}, such as owner/name"
    return DistilledSet.load(_asked(download, f"cannot download a set from {name!r}", wanted), trust=trust)


def write_repository(distilled: DistilledSet, folder: Path, *, name: str, licence: str = UNKNOWN) -> None:
    """Write the files of a repository into an empty folder: the set, its card, a picture and a table of its examples.

    Args:
        distilled: the set.
        folder: an empty folder.
        name: the name that the repository will have, as ``owner/name``.
        licence: the licence of the real data, as the hub calls it, e.g. ``cc-by-4.0``.
    """
    distilled.save(folder / NAME)
    write_table(distilled, folder)
    drawn = distilled.header.space.lines(distilled.inputs[:1]) is None
    if drawn:
        (folder / PICTURE).write_bytes(picture_bytes(grid(distilled), folder / PICTURE))
    text = card(distilled, name=name, licence=licence, picture=PICTURE if drawn else "")
    (folder / "README.md").write_text(text, encoding="utf-8")


def card(distilled: DistilledSet, *, name: str, licence: str = UNKNOWN, picture: str = "") -> str:
    """Return the text of the README.md of a repository; its first lines are what the hub reads.

    Names come from files and from strangers: in the text, none of them can become markup.
    """
    header = distilled.header
    warning, title = header.objective.warning(header.class_names), header.objective.title
    about = f"{f'{title}: ' if title else ''}{one_line(header.data)}, distilled to {distilled.size} synthetic examples"
    parts = [
        _metadata(distilled, about, licence),
        f"# {_plain(about)}",
        f"**{_plain(warning)}**" if warning else "",
        _what(distilled),
        f"![the examples]({picture})" if picture else "",
        _use(name, header.space.nouns),
        _facts(distilled),
        f"## Licence\n\n{_licence(licence)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(distilled: DistilledSet) -> str:
    """Say in a sentence what the set is."""
    return (
        f"Networks that are trained on these {distilled.size} examples alone learn to tell {distilled.classes} classes "
        f"of real {distilled.header.space.nouns} apart. Made with datastill."
    )


def _metadata(distilled: DistilledSet, title: str, licence: str) -> str:
    """Return the first lines of a card: YAML, in which every text is written as JSON, which YAML contains."""
    values = {
        "license": licence,
        "pretty_name": title,
        "tags": ["dataset-distillation", "datastill"],
        "task_categories": [TASKS[distilled.header.space.kind]],
        "configs": [{"config_name": "default", "data_files": "data/train-*.parquet"}],
    }
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in values.items()), "---"])


def _use(name: str, nouns: str) -> str:
    return f"""## Use

```python
from datastill import DistilledSet

distilled = DistilledSet.from_hub({name!r})
model = distilled.fit(model)  # your network: by the program of the set, in the order and with the step sizes it needs
logits = model(distilled.normalise(real))  # real {nouns}
```

The examples are a table, too, in whose column `example` the values are exact:

```python
table = datasets.load_dataset({name!r})["train"]
```"""


def _facts(distilled: DistilledSet) -> str:
    """Return what it is, how it was made, its program and its score, as a table."""
    made = distilled.header.provenance
    more = [
        ("made with", " ".join(["datastill", str(made["datastill"])]) if "datastill" in made else ""),
        ("made on", str(made.get("hardware", ""))),
        ("made in", f"{made['seconds']:.0f} s" if "seconds" in made else ""),
        ("program", distilled.program.words),
    ]
    rows = [*facts(distilled), *((key, value) for key, value in more if value)]
    lines = "\n".join(f"| {_plain(key)} | {_plain(value)} |" for key, value in rows)
    return f"## Facts\n\n| | |\n|---|---|\n{lines}\n\nThe whole configuration is in the file of the set."


def _licence(licence: str) -> str:
    if licence == UNKNOWN:
        return "The licence of the real data is not known here. Synthetic examples may fall under it: ask its owner."
    return f"{_plain(licence)}, as the one who uploaded the set says."


def _plain(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is."""
    return _MARKS.sub(lambda found: f"&#{ord(found[0])};", one_line(text))


def _asked(ask: Callable[[], T], what: str, advice: str) -> T:
    """Return what the hub gives; every error of its client becomes one line.

    Raises:
        UserError: the hub cannot be reached, refuses, or has nothing of this name.
    """
    try:
        return ask()
    except Exception as error:  # the client raises errors of several libraries, which share no class
        why = (str(error).splitlines() or [""])[0][:200]
        raise UserError(f"{what} ({type(error).__name__}: {why}); {advice}") from error
