"""Names of data: which a file may bring with it, which need the user, and what data says of itself."""

import dataclasses

import pytest

from datastill.data import DataSettings, RealData, is_known, load_data, require_known
from datastill.errors import UserError


def test_only_data_on_this_machine_is_known_by_name(tmp_path, monkeypatch):
    (tmp_path / "birds").mkdir()
    monkeypatch.setenv("DATASTILL_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert [name for name in ("digits", "birds") if is_known(name)] == ["digits", "birds"]
    for name in ("mnist", "./birds", str(tmp_path / "birds"), "/", "..", ".", "~", "", "birds/..", "a\0b"):
        assert not is_known(name)
        with pytest.raises(UserError, match=r"^set\.safetensors asks for the data .*--data .*--trust"):
            require_known(name, "set.safetensors")
    require_known("birds", "set.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "^the name of the data is empty"),
        (" ", "^the name of the data is empty"),
        ("a\0b", "printable"),
        ("a\x1b[31m", "printable"),
        ("~nobody-of-this-name/x", "is no path"),
        ("/dev/zero", "a device or a pipe, not a folder"),
        (__file__, "is a file, not a folder"),
        ("./nowhere", r"^there is no folder './nowhere' \(looked from .*--data"),
        ("x" * 5000, "^unknown data"),
    ],
)
def test_names_that_are_no_data(name, message):
    with pytest.raises(UserError, match=message) as caught:
        load_data(name)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*has no test split")
def test_data_given_in_python_is_not_found_by_its_name(arrays):
    for data, name in ((load_data(arrays), "arrays"), (load_data(arrays, name="digits", resize=4), "digits")):
        assert (data.name, data.settings.name, data.settings.in_memory) == (name, name, True)
        with pytest.raises(UserError, match=rf"^the data '{name}' was given in Python .* data=.*--data$"):
            load_data(data.settings)
    assert data.settings.resize == 4
    assert load_data(data.settings.named("digits")).shape == (1, 4, 4)


def test_data_says_how_it_was_loaded():
    assert load_data("digits", pad=1).settings == DataSettings(pad=1)
    made = dataclasses.replace(load_data("digits"), source=None, name="own")
    assert made.settings == DataSettings(name="own", in_memory=True)


def renamed(data: RealData, names) -> RealData:
    return dataclasses.replace(data, class_names=tuple(names))


def test_classes_in_another_order_are_the_same_images_by_name():
    data = load_data("digits")
    order = ("3", "1", "0", "2", "9", "8", "7", "6", "5", "4")
    moved = data.with_classes(order)
    assert moved.class_names == order
    for one, other in ((data.train, moved.train), (data.validation, moved.validation), (data.test, moved.test)):
        assert one.images is other.images
        assert [order[k] for k in other.labels] == [data.class_names[k] for k in one.labels]
    assert moved.with_classes(data.class_names).test.labels.equal(data.test.labels)
    assert data.with_classes(data.class_names) is data


@pytest.mark.parametrize("order", [list("012345678"), list("0123456788"), [*"012345678", "nine"], [*"0123456789", "x"]])
def test_other_classes_are_refused(order):
    with pytest.raises(UserError, match=r"^the classes of 'digits' are 0, 1, .* are wanted"):
        load_data("digits").with_classes(order)
