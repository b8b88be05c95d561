"""Settings of a run that are refused before anything is made, and those that are fitted to the data."""

from pathlib import Path

import pytest
import torch

from datastill import Protocol, UserError, distill, load_data
from datastill.loop import LoopSettings
from datastill.methods import dataset_distillation as method
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks.start import FromPool, Random
from datastill.resuming import stored_config

from .toys import toy_config, toy_data

pytestmark = pytest.mark.usefixtures("operations_not_counted", "one_program_to_choose")
DATA = toy_data()


def test_nothing_is_made_when_the_settings_are_wrong(tmp_path: Path) -> None:
    for config, message in [
        (toy_config(network="lenet"), "lenet' takes images of 28x28 or 32x32, not 4x4"),
        (toy_config(network="nothing"), "unknown network"),
        (toy_config(start=Random("xaviar")), "unknown initialiser 'xaviar': did you mean 'xavier'"),
        (toy_config(device="abacus"), "this machine has no device 'abacus'"),
        (
            toy_config(method=DatasetDistillation(ipc=3, steps=2, real_batch=8)),
            "ipc 3 cannot be shared evenly by 2 steps",
        ),
        (toy_config(method=DatasetDistillation(ipc=1000, steps=2, real_batch=8)), "1000 images per class wanted"),
    ]:
        with pytest.raises(UserError, match=message):
            distill(config, tmp_path / "run", data=DATA)
        assert not (tmp_path / "run").exists(), message


def test_settings_that_the_data_are_too_small_or_too_large_for_are_fitted_said_and_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The default settings on 48 colour photographs of 40x40, which have 4800 values."""
    images = torch.randint(0, 256, (60, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = load_data((images, torch.arange(60) % 2), name="photographs")
    config = toy_config(
        data=data.settings,
        method=DatasetDistillation(ipc=1, steps=1, epochs=1),
        loop=LoopSettings(iterations=1, validate_every=1),
    )
    distill(config, tmp_path / "run", data=data)
    said = " ".join(capsys.readouterr().err.split())
    assert f"fitted to the data: method.coordinates auto -> pixels, method.real_batch 256 -> {len(data.train)}" in said
    stored = stored_config(tmp_path / "run").method
    assert (stored.coordinates, stored.real_batch) == ("pixels", len(data.train))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "lenet"}, "lenet' takes images of 28x28 or 32x32"),
        ({"network": "nothing"}, "unknown network"),
        ({"network": "nearest-neighbours(k=1)"}, "a run is scored with networks"),
        ({"start": Random("xaviar")}, "unknown initialiser 'xaviar'"),
        ({"start": FromPool("nowhere")}, "there is no pool at nowhere"),
        ({"labels": "soft"}, "labels is 'soft', but the set has hard labels"),
        ({"epochs": 10**9}, "at most 100000 are allowed"),
    ],
)
def test_a_protocol_that_is_impossible_is_refused_before_anything_is_made(
    tmp_path: Path, settings: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "choose", lambda *_: pytest.fail("it was measured which way to compute is best"))
    with pytest.raises(UserError, match=message):
        distill(toy_config(protocol=Protocol(**settings)), tmp_path / "run", data=DATA)
    assert not (tmp_path / "run").exists()
