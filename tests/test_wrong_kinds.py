"""Values of another kind than the functions of the package take: one line that says what to give."""

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch

import datastill
from datastill import RealData, UserError
from datastill.program import Ordered, Program


@pytest.fixture(scope="module")
def digits() -> RealData:
    return datastill.load_data("digits")


@pytest.fixture(autouse=True)
def without_checks_of_types() -> Iterator[None]:
    """As for a user: nothing but the package itself looks at the values."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


SET = datastill.load("mnist-10")
ONE = torch.ones(1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: datastill.score(SET, "mnist"), r"data is 'mnist', but must be a RealData; load it: datastill.load_"),
        (lambda _: datastill.verify(SET, "mnist"), "data is 'mnist', but must be a RealData"),
        (lambda _: datastill.pack(SET, "mnist"), "data is 'mnist', but must be a RealData"),
        (lambda _: datastill.distill(datastill.recipe("digits"), data="digits"), "data is 'digits', but must be a Re"),
        (lambda real: datastill.score("mnist-10", real), "distilled is 'mnist-10', but must be a DistilledSet; load"),
        (lambda real: datastill.verify("mnist-10", real), "distilled is 'mnist-10', but must be a DistilledSet"),
        (lambda real: datastill.pack("mnist-10", real), "distilled is 'mnist-10', but must be a DistilledSet"),
        (lambda _: datastill.export("mnist-10", "x", "npz"), "distilled is 'mnist-10', but must be a DistilledSet"),
        (lambda real: datastill.baseline("random", "mnist-10", real), "like is 'mnist-10', but must be a DistilledSet"),
        (
            lambda _: datastill.distill("digits"),
            r"config is 'digits', but must be a Config; take a recipe: datastill.r",
        ),
        (lambda _: datastill.recipe(None), "unknown recipe 'None'"),
        (lambda _: datastill.distill(datastill.recipe("digits"), 3), "folder is 3, but must be a str or Path; give"),
        (lambda _: datastill.export(SET, None, "npz"), "to is None, but must be a str or Path"),
        (lambda _: SET.save(None), "path is None, but must be a str or Path"),
        (
            lambda _: datastill.build_network(3, shape=SET.shape, classes=10),
            "network is 3, but must be a str",
        ),
        (lambda _: datastill.build_network("mlp", shape=8, classes=10), "shape is 8, but must be a tuple of whole num"),
        (
            lambda _: datastill.build_network("mlp", shape=[1, 8, 8], classes=10),
            r"shape is \[1, 8, 8\], but must be a t",
        ),
        (
            lambda _: datastill.build_network("mlp", shape=(1, 8.0, 8), classes=10),
            r"shape is \(1, 8.0, 8\), but must be",
        ),
        (
            lambda _: datastill.build_network("mlp", shape=(1, 8, 8), classes=10.0),
            "classes is 10.0, but must be at lea",
        ),
        (lambda _: datastill.parse_start(3), r"start is 3, but must be a str; write random\("),
        (lambda _: datastill.load(None), "name is None, but must be the name of a set"),
        (lambda _: SET.with_program(Program(order=0.1)), "order of the program is 0.1, but must be a Ordered or"),
        (lambda _: SET.with_program(Program(order=Ordered(step_sizes=[[0.1]]))), "step_sizes of the program is a list"),
        (lambda _: SET.with_program(Program(order=Ordered(step_sizes=-ONE))), "step sizes must be positive numbers"),
        (lambda real: datastill.score(SET, real, images=-1), "images is -1, but must be at least 1"),
        (
            lambda real: datastill.score(SET, real, measures=["accuracy"]),
            "one of measures is 'accuracy', but must be a",
        ),
        (lambda _: datastill.distill(datastill.recipe("digits"), "x", log=3), "log is 3, but must be a Callable"),
        (
            lambda _: datastill.hypergradient(sum, sum, ONE, ONE, ONE, ONE[0]),
            r"step_sizes has the shape \(1,\), but must",
        ),
        (
            lambda _: datastill.hypergradient(sum, sum, ONE[0], ONE, ONE, ONE),
            r"thetas has the shape \(1,\), but must be \(",
        ),
        (lambda _: SET.with_program("shuffled-300"), "program is 'shuffled-300', but must be a Program; take a named"),
        (
            lambda _: SET.fit(
                datastill.build_network("lenet", shape=SET.shape, classes=10).factory(), program="shuffled-300"
            ),
            "program is 'shuffled-300', but must be a Program",
        ),
    ],
)
def test_a_value_of_another_kind_is_refused_in_one_line(
    call: Callable[[RealData], object], message: str, digits: RealData
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call(digits)
    assert "\n" not in str(caught.value)


def test_a_split_of_another_name_is_refused_with_the_known_ones(digits: RealData) -> None:
    like = datastill.DistilledSet(
        inputs=torch.zeros(10, 1, 8, 8),
        targets=torch.arange(10),
        program=datastill.program.PROGRAMS["shuffled-300"],
        header=datastill.Header(
            data="digits", class_names=digits.class_names, space=digits.space, network="mlp",
            start=datastill.parse_start("random(xavier)"),
        ),
    )  # fmt: skip
    with pytest.raises(UserError, match="unknown split 'tst': did you mean 'test'"):
        datastill.score(like, digits, split="tst")
