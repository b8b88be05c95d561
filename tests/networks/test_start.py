"""Starts: one record says where initial weights come from, how it is written, drawn from, and said."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from datastill.errors import UserError
from datastill.networks import Network, build
from datastill.networks.pool import TEST_NETWORKS, Pool
from datastill.networks.start import (
    KINDS,
    START,
    Fixed,
    FromPool,
    Pretrained,
    Random,
    Start,
    parse_start,
    weights_sha256,
)
from datastill.rng import generator

SHA256 = "0" * 64
STARTS = [
    Random("kaiming"),
    Fixed("orthogonal", SHA256, seed=3),
    Pretrained(SHA256),
    FromPool("a pool#", 3, SHA256),
    FromPool("a (pool", None, SHA256),
    FromPool("a pool", 3, SHA256, 5),
    FromPool("a pool", snapshot=0),
    FromPool("a pool", snapshot=2, onward=True),
]
SPELLED = ["random(kaiming)", "fixed(orthogonal)", "pretrained", "pool:pools/a (b).safetensors", "pool:x#3",
           "pool:x@5", "pool:x#3@0", "pool:x@5+", "pool:x+", "pool:me@home/x.safetensors"]  # fmt: skip


def network() -> Network:
    return build("mlp(width=4,depth=1)", shape=(1, 2, 2), classes=3)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool of twenty networks to distil with, and three held out."""
    made, path = network(), tmp_path / "pool.safetensors"
    thetas = made.init("xavier", [generator(0, "test", i) for i in range(23)])
    header = {
        "settings": {"network": made.name}, "shape": [1, 2, 2], "classes": 3, "class_names": ["a", "b", "c"],
        "mean": [0.0], "std": [1.0], "parameters": dict(zip(made.names, map(list, made.shapes), strict=True)),
        "accuracies": {"training": [0.5] * 20, "held_out": [0.5] * 3}, "seconds": 1.0, "torch": "2",
    }  # fmt: skip
    Pool(training=thetas[:20], held_out=thetas[20:], header=header).save(path)
    return path


@pytest.mark.parametrize("text", SPELLED)
def test_a_start_is_spelled_in_one_way(text: str) -> None:
    assert str(parse_start(text)) == text
    assert parse_start(f" {text} ") == parse_start(text)


def test_a_word_alone_takes_the_usual_initialiser() -> None:
    assert (parse_start("random"), parse_start("fixed")) == (Random("xavier"), Fixed("xavier"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must be random"),
        ("xavier", r"must be random\(xavier\), fixed\(xavier\), pretrained, pool:FILE, pool:FILE#3@5"),
        ("own", "must be random"),
        ("random(xavir)", "did you mean 'xavier'"),
        ("fixed(xavier", "no closing bracket"),
        ("pretrained(x)", "--network NAME"),
        ("pool:", "names no file"),
        ("pool:file#last", "names no network"),
        ("pool:file#" + "9" * 5000, "names no network"),
        ("pool:file#3@last", "names no snapshot; write FILE@5 or FILE#3@5"),
        ("pool:file@" + "9" * 5000, "names no snapshot"),
        ("pool:file#@5", "names no network"),
        ("pool:@5", "names no file"),
        ("pool:x#3@5+", r"pool:x#3@5\+ has a \+ without a snapshot, or for one network; write pool:FILE@5\+"),
    ],
)
def test_another_text_is_refused_with_what_to_write(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        parse_start(text)


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.kind)
def test_a_start_in_json_is_read_back(start: Start) -> None:
    plain = json.loads(json.dumps(asdict(start)))
    assert (plain["kind"], START(plain, "start")) == (start.kind, start)
    assert START(start, "start") is start
    assert KINDS[start.kind] is type(start)


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        ("random(xavier)", "start is 'random.xavier.', but must be a start"),
        ({}, "unknown kind of start ''"),
        ({"kind": "radom"}, "did you mean 'random'"),
        ({"kind": "random", "seed": 3}, "unknown name 'seed' in start.*newer version"),
        ({"kind": "pool"}, "start lacks 'file'"),
        ({"kind": "pool", "file": "x", "which": -1}, "start.which is -1"),
        ({"kind": "pool", "file": "x", "snapshot": -1}, "start.snapshot is -1"),
        ({"kind": "pool", "file": "x", "onward": True}, "without a snapshot"),
        ({"kind": "fixed", "initialiser": 3}, "start.initialiser is 3"),
    ],
)
def test_wrong_json_is_refused(plain: object, why: str) -> None:
    with pytest.raises(UserError, match=why):
        START(plain, "start")


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.kind)
def test_every_start_says_what_it_is(start: Start) -> None:
    for text in (start.made_for, start.measured, start.advice, start.in_full("mlp"), start.code, start.spelling):
        assert text.strip() == text != ""
    assert start.advice.startswith("Expect a ")
    assert start.in_full("mlp").endswith(".")
    compile(f"{start.imports}\n{start.code}", "snippet", "exec")


def test_only_a_start_that_names_a_file_opens_one() -> None:
    assert [start.opens for start in STARTS] == ["", "", "", "a pool#", "a (pool", "a pool", "a pool", "a pool"]


def test_random_draws_differ_and_depend_on_seed_iteration_and_number_alone() -> None:
    draws = Random("xavier").bound(network(), seed=5)
    assert (draws.start, draws.one) == (Random("xavier"), None)
    three = draws(0, 7, [0, 1, 2])
    assert len(three.unique(dim=0)) == 3
    assert torch.equal(draws(0, 7, [2])[0], three[2])
    assert not torch.equal(draws(1, 7, [2]), draws(0, 7, [2]))
    assert not torch.equal(draws(0, 8, [2]), draws(0, 7, [2]))


def test_a_fixed_start_is_drawn_once_and_its_seed_draws_it_again() -> None:
    made = network()
    draws = Fixed("xavier").bound(made, seed=5)
    assert torch.equal(draws(0, 7, [0, 1])[1], draws.one)
    assert torch.equal(draws(1, 0, [4])[0], draws.one)
    named = made.named(draws.one)
    assert replace(draws.start, norms=()) == Fixed("xavier", weights_sha256(named), seed=5)
    draws.start.must_agree(None)
    draws.start.must_agree(named)
    with pytest.raises(UserError, match="theta_0 holds other weights"):
        draws.start.must_agree({name: value + 1 for name, value in named.items()})
    for stored in (named, None):
        assert torch.equal(draws.start.unseen(made, seed=9, purpose="p", networks=3, stored=stored), draws.one[None])


def test_a_fixed_start_that_other_numbers_would_be_drawn_for_is_refused() -> None:
    start = Fixed("xavier").bound(network(), seed=5).start
    with pytest.raises(UserError, match="cannot be drawn again"):
        replace(start, seed=6).again(network())
    assert replace(start, seed=None).again(network()) is None
    with pytest.raises(UserError, match="knows no seed"):
        replace(start, seed=None).unseen(network(), seed=0, purpose="p", networks=1)
    with pytest.raises(UserError, match="give them as theta_0"):
        replace(start, seed=None).must_agree(None)


def test_a_draw_that_another_processor_rounds_in_another_way_is_that_draw() -> None:
    made = network()
    start = Fixed("xavier").bound(made, seed=5).start
    elsewhere = replace(start, sha256="0" * 64, norms=tuple(norm * (1 + 1e-7) for norm in start.norms))
    assert torch.equal(elsewhere.again(made), start.again(made))
    for other in (start.norms[:-1], (), tuple(norm * 1.001 for norm in start.norms)):
        with pytest.raises(UserError, match="cannot be drawn again"):
            replace(elsewhere, norms=other).again(made)
    norms = [Fixed("xavier").bound(made, seed=seed).start.norms for seed in range(50)]
    least = min(max(abs(a / b - 1) for a, b in zip(norms[0], other, strict=True) if b) for other in norms[1:])
    assert least > 1e-3, "draws of two seeds are told from each other"


def test_weights_of_an_earlier_set_are_not_said_to_be_drawn_by_a_seed() -> None:
    made = network()
    earlier = made.named(made.init("kaiming", [torch.Generator()])[0])
    draws = Fixed("kaiming").bound(made, seed=5, stored=earlier)
    assert torch.equal(draws.one, made.flat(earlier))
    assert replace(draws.start, norms=()) == Fixed("kaiming", weights_sha256(earlier), seed=None)
    known = Fixed("kaiming").bound(made, seed=3)
    assert known.start.bound(made, seed=5, stored=made.named(known.one)).start == known.start
    with pytest.raises(UserError, match="do not fit network"):
        Fixed("kaiming").bound(build("lenet", shape=(1, 28, 28), classes=3), seed=5, stored=earlier)


def test_float64_draws_are_rounded_so_no_seed_is_recorded() -> None:
    draws = Fixed("xavier").bound(network(), seed=5, dtype=torch.float64)
    assert (draws.one.dtype, draws.start.seed) == (torch.float64, None)


def test_networks_without_pretrained_weights_cannot_start_from_them() -> None:
    with pytest.raises(UserError, match="draws its weights at random"):
        Pretrained().bound(network(), seed=0)


def test_networks_held_out_of_a_pool_measure_and_are_not_distilled_with(pool: Path) -> None:
    start, made, whole = FromPool(str(pool)), network(), Pool.load(pool)
    draws = start.bound(made, seed=0, networks=2)
    assert (draws.start.sha256, draws.one) == (whole.sha256, None)
    drawn = torch.cat([draws(0, i, [0, 1]) for i in range(200)]).unique(dim=0)
    assert torch.equal(drawn, whole.drawn.unique(dim=0)), "with 200 draws, every network comes"
    assert all(len(draws(0, i, [0, 1]).unique(dim=0)) == 2 for i in range(20))
    for purpose, most, expected in (
        (TEST_NETWORKS, 9, whole.held_out),
        ("validation networks", 1, whole.validating[:1]),
    ):
        assert torch.equal(start.unseen(made, seed=0, purpose=purpose, networks=most), expected)
    assert start.files() == {str(start): whole.sha256}
    assert start.class_names() == ("a", "b", "c")


def test_one_network_of_a_pool_is_the_only_start(pool: Path) -> None:
    start, made, whole = FromPool(str(pool), 19), network(), Pool.load(pool)
    draws = start.bound(made, seed=0, networks=50)
    assert torch.equal(draws.one, whole.training[19])
    assert torch.equal(start.unseen(made, seed=0, purpose=TEST_NETWORKS, networks=9), whole.training[19:])
    with pytest.raises(UserError, match="0 to 19 can be named, not 20; the 3 held out"):
        FromPool(str(pool), 20).bound(made, seed=0)


def test_a_pool_that_is_too_small_another_one_or_in_another_order_is_refused(pool: Path) -> None:
    start = FromPool(str(pool))
    with pytest.raises(UserError, match="networks is 19, but the pool has 18 to draw from"):
        start.bound(network(), seed=0, networks=19)
    with pytest.raises(UserError, match="is not the pool that the set was made for"):
        replace(start, sha256=SHA256).unseen(network(), seed=0, purpose="p", networks=1)
    with pytest.raises(UserError, match="class 0 is 'a' there, but 'b' here"):
        start.must_have_order(["b", "a", "c"])
    start.must_have_order(["x", "y", "z"])


def test_a_pool_starts_another_pool_network_by_network(pool: Path) -> None:
    start, whole = FromPool(str(pool)), Pool.load(pool)
    counts = {"training": 2, "held_out": 3}
    found = start.first(network(), seed=0, which=[1, 2, 4], counts=counts)
    assert torch.equal(found, torch.stack([whole.training[1], whole.held_out[0], whole.held_out[2]]))
    with pytest.raises(UserError, match="held_out is 4, but the pool has 3 held-out networks"):
        start.first(network(), seed=0, which=[0], counts={"training": 2, "held_out": 4})
    with pytest.raises(UserError, match=r"so a number after # or a \+ has no effect"):
        replace(start, which=0).first(network(), seed=0, which=[0], counts=counts)


def test_what_a_set_stores_agrees_with_its_start() -> None:
    weights = {"weight": torch.ones(2)}
    for start in (Random(), Pretrained(), FromPool("x")):
        with pytest.raises(UserError, match="leave theta_0 out"):
            start.must_agree(weights)
        start.must_agree(None)
    with pytest.raises(UserError, match="give them as theta_0"):
        Fixed().must_agree(None)
    Fixed().must_agree(weights)
    for stored in (weights, None):
        FromPool("x", 3).must_agree(stored)


def test_a_comparison_with_a_fixed_start_takes_other_draws_of_its_initialiser() -> None:
    assert Fixed("kaiming", SHA256, 3).fresh() == Random("kaiming")
    assert Pretrained(SHA256).fresh() == Pretrained()
    assert all(start.fresh() == start for start in (Random("own"), FromPool("x"), FromPool("x", 3)))
