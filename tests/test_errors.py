import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastill.errors import UserError, at_least, counted, unknown


def test_a_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)


def test_an_unknown_name_is_told_with_the_nearest_known_one_and_all_of_them():
    error = unknown("network", "lenett", ["resnet18", "lenet", "mlp"])
    assert isinstance(error, UserError)
    assert str(error) == "unknown network 'lenett': did you mean 'lenet'? known: lenet, mlp, resnet18"


def test_a_name_like_no_other_gets_no_guess():
    assert str(unknown("mode", "zzz", {"stored"})) == "unknown mode 'zzz': known: stored"


def test_capital_letters_do_not_hide_the_name_that_is_meant():
    assert "did you mean 'MNIST'?" in str(unknown("data", "mnist", {"MNIST", "usps"}))
    assert "did you mean 'mnist-random'?" in str(unknown("recipe", "MNIST-random", {"mnist-random", "usps-random"}))


def test_a_count_has_its_noun_in_the_right_number():
    assert [counted(count, noun) for noun in ("step", "epoch", "class", "batch") for count in (1, 2)] == [
        "1 step", "2 steps", "1 epoch", "2 epochs", "1 class", "2 classes", "1 batch", "2 batches",
    ]  # fmt: skip


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_at_least_raises_exactly_below_the_limit_and_names_all_three(value, limit):
    if value >= limit:
        at_least("steps", value, limit)
    else:
        with pytest.raises(UserError, match="steps") as caught:
            at_least("steps", value, limit)
        assert str(value) in str(caught.value)
        assert str(limit) in str(caught.value)
