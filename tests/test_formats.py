"""Sets in files of earlier formats load, verify and give their scores for ever; the folder `format1` holds copies.

Each was written by a run of datastill 0.1.0 on the digits of scikit-learn: hard and learned labels; initial weights
that are drawn, stored, of the network itself, of any network of a pool and of one; an attack; frozen layers; examples
of 8 bits; and ``first``, the header as the first version wrote it, without the fields that came later.
"""

from pathlib import Path

import pytest

from datastill import DistilledSet, load_data, verify
from datastill.data import RealData

FOLDER = Path(__file__).parent / "format1"
SETS = sorted(path.name for path in FOLDER.glob("*.safetensors") if not path.name.startswith("pool-of"))


@pytest.fixture(scope="module")
def digits() -> RealData:
    return load_data("digits")


@pytest.fixture
def beside_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_format_1_gives_its_score(name: str, digits: RealData, beside_its_pool: None) -> None:
    found = verify(DistilledSet.load(FOLDER / name, trust=True), digits)
    assert found["holds"], [claim for claim in found["claims"] if claim["verdict"] == "does not hold"]
    assert found["measured"] > 0.2


def test_there_is_a_copy_of_each_kind() -> None:
    assert len(SETS) == 10
