"""Initial weights that a seed draws again: a packed set holds the seed, their SHA-256 and norms in their place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datastill import DistilledSet, Protocol, UserError, score
from datastill.exporting import export
from datastill.networks import build
from datastill.networks.start import Fixed, weights_sha256

from .toys import toy_data, toy_set

DATA = toy_data()
NETWORK = build("mlp(width=8,depth=1)", shape=DATA.shape, classes=3)


def fixed(seed: int = 3) -> DistilledSet:
    draws = Fixed("xavier").bound(NETWORK, seed=seed)
    return replace(
        toy_set(DATA), theta_0=NETWORK.named(draws.one), header=replace(toy_set(DATA).header, start=draws.start)
    )


@pytest.fixture
def packed(tmp_path: Path) -> DistilledSet:
    fixed().packed().save(tmp_path / "packed.safetensors")
    return DistilledSet.load(tmp_path / "packed.safetensors")


def test_a_packed_set_leaves_out_what_its_seed_draws(packed: DistilledSet) -> None:
    assert packed.theta_0 is None
    assert packed.initial_nbytes == 0
    assert packed.header.start == fixed().header.start
    for name, value in (fixed().theta_0 or {}).items():
        assert torch.equal((packed.initial_weights() or {})[name], value)


def test_it_trains_and_scores_as_with_its_weights(packed: DistilledSet) -> None:
    whole = replace(packed, theta_0=fixed().theta_0)
    assert score(packed, DATA, Protocol()).accuracies == score(whole, DATA, Protocol()).accuracies
    one, other = (each.fit(NETWORK.factory()) for each in (packed, whole))
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_an_export_holds_the_weights(packed: DistilledSet, tmp_path: Path) -> None:
    with np.load(export(packed, tmp_path / "set.npz", "npz")) as archive:
        for name, value in (fixed().theta_0 or {}).items():
            assert torch.equal(torch.from_numpy(archive[f"initial.{name}"]), value)


def test_a_copy_with_weights_is_for_machines_that_draw_other_numbers(packed: DistilledSet, tmp_path: Path) -> None:
    start = packed.header.start
    elsewhere = replace(packed, header=replace(packed.header, start=replace(start, sha256="0" * 64, norms=(1.0,))))
    with pytest.raises(UserError, match=r"take a copy of the set that stores its weights: DistilledSet.with_weights"):
        elsewhere.fit(NETWORK.factory())
    assert elsewhere.fit(NETWORK.factory(), use_initial=False)
    rounded = replace(packed, header=replace(packed.header, start=replace(start, sha256="0" * 64)))
    copy = rounded.with_weights()
    assert copy.header.start.sha256 == weights_sha256(copy.theta_0)
    assert rounded.packed().theta_0 is None


def test_weights_that_the_seed_does_not_draw_stay_stored() -> None:
    named = NETWORK.named(NETWORK.init("kaiming", [torch.Generator()])[0])
    start = replace(fixed().header.start, sha256=weights_sha256(named), seed=None)
    kept = replace(fixed(), theta_0=named, header=replace(fixed().header, start=start)).packed()
    assert kept.theta_0 is not None
