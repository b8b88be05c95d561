"""The code on the page about programs runs as it stands, and names every choice there is."""

from pathlib import Path

from datastill import program
from datastill.program import AUGMENTATIONS, OPTIMISERS, PROGRAMS, Augmentation, Loss, Optimiser
from datastill.program.orders import SCHEDULES
from datastill.program.siamese import ALL

PAGE = (Path(__file__).parents[2] / "docs" / "programs.md").read_text()


def test_the_code_runs_from_top_to_bottom() -> None:
    blocks = [block.split("```")[0] for block in PAGE.split("```python\n")[1:]]
    assert len(blocks) == 2
    exec("\n".join(blocks), {})


def test_every_choice_is_named() -> None:
    records = [
        each.__name__
        for each in vars(program).values()
        if isinstance(each, type) and issubclass(each, Loss | Optimiser | Augmentation)
    ]
    abstract = {"Loss", "Optimiser", "Augmentation"}
    for name in {*records, *SCHEDULES, *ALL, *OPTIMISERS, *PROGRAMS} - abstract:
        assert name in PAGE, name
    assert "siamese-no-flip" in AUGMENTATIONS
