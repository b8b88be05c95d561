import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from datastill.errors import UserError
from datastill.networks import NETWORKS, build, parse

VALUES = ("inf", "nan", "infinity", "true", "false")  # words that are numbers or truth values
words = st.text(string.ascii_lowercase + "_", min_size=1).filter(lambda w: w not in VALUES)
numbers = st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))
values = st.one_of(numbers, st.booleans(), words)


@given(
    st.text(string.ascii_letters + "_.:", min_size=1),
    st.dictionaries(words, values, max_size=4),
    st.sampled_from(["", " "]),
)
def test_what_is_written_is_what_is_parsed(name, arguments, space):
    inside = f",{space}".join(f"{key}{space}={space}{value!s}" for key, value in arguments.items())
    found = parse(f"{name}({inside})")
    assert found == (name, arguments)
    assert [type(v) for v in found[1].values()] == [type(v) for v in arguments.values()]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'a,b=(c)'", "a,b=(c)"),
        ('"it\'s"', "it's"),
        ("[1, -2.5, 'x,y']", [1, -2.5, "x,y"]),
        ("(3, (4, None))", (3, (4, None))),
        ("-0.5", -0.5),
        ("'3'", "3"),
        ("None", None),
        ("none", "none"),
        ("classifier", "classifier"),
        ("/data/my-weights.v2.safetensors", "/data/my-weights.v2.safetensors"),
    ],
)
def test_values_are_constants_of_python_or_words(written, value):
    assert parse(f"net(a=1,key={written}, b = true)") == ("net", {"a": 1, "key": value, "b": True})


@pytest.mark.parametrize("value", ["'x", "[1,2", "(1,", "[x]", "'a'+'b'", "[" * 3000, "['a', {}]"])
def test_a_value_that_is_not_closed_or_no_constant_is_refused(value):
    with pytest.raises(UserError, match="not closed or no constant of Python"):
        parse(f"net(a={value})")


def test_a_bare_name_has_no_arguments():
    assert parse(" lenet ") == ("lenet", {}) == parse("lenet()")


@pytest.mark.parametrize("spec", ["mlp(width=3", "mlp(width)", "mlp(width=3)x"])
def test_brackets_that_make_no_sense_are_refused_with_the_form_to_write(spec):
    with pytest.raises(UserError, match=r"write name\(key=value"):
        parse(spec)


def test_arguments_reach_the_network():
    module = build("convnet(depth=2,norm=none,width=5)", shape=(1, 8, 8), classes=3).module
    kinds = [type(layer).__name__ for layer in module]
    assert kinds == ["Conv2d", "Identity", "ReLU", "AvgPool2d"] * 2 + ["Flatten", "Linear"]
    assert module[0].out_channels == 5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lenett", "unknown network 'lenett': did you mean 'lenet'?"),
        ("convnet(widht=3)", "unknown argument 'widht' of network 'convnet': did you mean 'width'?"),
        ("convnet(norm=bach)", "unknown norm 'bach': did you mean 'batch'?"),
        ("mlp(classes=3)", "unknown argument 'classes' of network 'mlp'"),
        ("mlp(shape=3)", "unknown argument 'shape' of network 'mlp'"),
        ("mlp(width=wide)", "'mlp(width=wide)' cannot be made: its width is 'wide', but must be a whole number"),
        ("lenet(width=3)", "network 'lenet' takes no arguments; leave width out"),
        ("mlp(depth=100000)", "network 'mlp(depth=100000)' is too large: its depth must be at most 50"),
        ("mlp(width=1000000)", "is too large: it has 1000068000002 parameters, at most 268435456 are allowed"),
        ("convnet(width=100000,depth=2)", "is too large"),
        *((f"{name}(width=0)", "its width must be at least 1") for name in ("mlp", "convnet", "resnet18")),
        ("mlp(width=-3)", "its width must be at least 1"),
        ("mlp(depth=-1)", "its depth must be at least 0"),
        ("resnet18(width=30000)", "is too large"),
        ("convnet(depth=-1)", "network 'convnet(depth=-1)' cannot be made"),
        ("convnet(norm=group,width=6)", "must be divisible by num_groups"),
        (
            "no_such_module:net",
            "'no_such_module:net' cannot be imported: there is no module 'no_such_module' (looked for in ",
        ),
        ("tests.problems:no_such_network", "no_such_network"),
        (":net", "write module:callable"),
        (".relative:net", "write module:callable"),
        ("math:pi", "'math:pi' is a float, which cannot be called"),
        ("os.no_such:net", "there is no module 'os.no_such' (looked for in "),
        ("tests.problems:", "write module:callable"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(spec, message):
    with pytest.raises(UserError) as caught:
        build(spec, shape=(1, 8, 8), classes=2)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_network_is_told_all_known_ones():
    with pytest.raises(UserError) as caught:
        build("zzz", shape=(1, 8, 8), classes=2)
    with pytest.raises(UserError, match="classes is 0, but must be at least 1"):
        build("mlp", shape=(1, 8, 8), classes=0)
    assert all(name in str(caught.value) for name in NETWORKS)


@pytest.mark.parametrize("shape", [(1, -8, 8), (1, 0, 8), ()])
def test_a_shape_that_no_example_has_is_refused(shape):
    with pytest.raises(UserError, match=r"shape is .*, but must be a tuple of whole numbers from 1, such as"):
        build("mlp", shape=shape, classes=2)


OWN = """
from torch import nn

def tiny(*, shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width), nn.Linear(width, classes))

def wrong(*, shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes + 1))

def per_pixel(*, shape, classes):
    return nn.Conv2d(shape[0], classes, 1)

class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)), x

def pair(*, shape, classes):
    return Pair(shape[0] * shape[1] * shape[2], classes)

def fixed(*, shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3, classes))

def size_unknown(*, classes):
    return nn.Linear(3, classes)

def nothing_asked():
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 5))

def only_classes(classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, classes))

def anything(**given):
    return nn.Sequential(nn.Flatten(), nn.Linear(9, given["classes"] + given.get("more", 0)))

class OuterRate:
    @staticmethod
    def inner(shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(9, classes))

made = nothing_asked()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own")
def test_the_users_own_network_is_built_with_its_arguments_and_keeps_its_name():
    network = build("my_own_networks:tiny(width=8)", shape=(1, 3, 3), classes=5)
    assert network.name == "my_own_networks:tiny(width=8)"
    assert network.shapes == [(8, 9), (8,), (5, 8), (5,)]
    assert network.size == 8 * 9 + 8 + 5 * 8 + 5
    assert isinstance(network.module, nn.Module)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", "gives outputs of shape (6,) for 5 classes"),
        ("per_pixel", "gives outputs of shape (5, 3, 3) for 5 classes"),
        ("pair", "gives a tuple for 5 classes"),
        ("fixed", "cannot take images of shape (1, 3, 3)"),
        ("size_unknown", "gives outputs of shape (1, 3, 5) for 5 classes"),
        ("anything(more=1)", "gives outputs of shape (6,) for 5 classes"),
        ("made", "is a finished module; name a class or a function that makes a module"),
    ],
)
def test_the_users_own_network_is_refused_in_one_line_where_it_does_not_fit(name, message):
    with pytest.raises(UserError) as caught:
        build(f"my_own_networks:{name}", shape=(1, 3, 3), classes=5)
    assert message in str(caught.value)
    assert f"my_own_networks:{name}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    "name", ["nothing_asked", "only_classes", "only_classes(width=3)", "anything", "OuterRate.inner"]
)
def test_a_maker_is_given_what_it_takes_of_shape_and_classes(name):
    network = build(f"my_own_networks:{name}", shape=(1, 3, 3), classes=5)
    assert network.apply(torch.zeros(network.size), torch.zeros(2, 1, 3, 3)).shape == (2, 5)


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build("convnet(width=4)", shape=(1, 8, 8), classes=2)
    assert torch.equal(torch.get_rng_state(), before)
