"""Limits as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet.errors import UsageError
from effnet.measure.limits import QUANTITIES, Limit, parse_amount, parse_limits, shown

USUAL = {
    "latency": (1e-6, 1e4),
    "macs": (1e3, 1e14),
    "params": (10, 1e10),
    "size": (100, 1e13),
    "memory": (100, 1e13),
    "train-time": (0.1, 1e7),
}
"""Amounts that occur."""


@pytest.mark.parametrize(
    ("quantity", "text", "value"),
    [
        ("latency", "10ms", 0.01),
        ("latency", " 10 MS ", 0.01),
        ("latency", "1.5s", 1.5),
        ("latency", "250us", 250e-6),
        ("latency", "250µs", 250e-6),
        ("macs", "1G", 1e9),
        ("macs", "390m", 390e6),
        ("macs", "4e8", 4e8),
        ("params", "5.3M", 5.3e6),
        ("params", "5300000", 5.3e6),
        ("size", "20MB", 20e6),
        ("size", "20M", 20e6),
        ("size", "20 MiB", 20 * 1024**2),
        ("memory", "2GB", 2e9),
        ("memory", "2gib", 2 * 1024**3),
        ("train-time", "30m", 1800),
        ("train_time", "30min", 1800),
        ("train-time", "1.5h", 5400),
        ("train-time", "2d", 172800),
    ],
)
def test_amounts(quantity: str, text: str, value: float) -> None:
    assert parse_amount(quantity, text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("quantity", "text", "words"),
    [
        ("latency", "10", "unit"),  # of what: ms or s?
        ("train-time", "30", "unit"),
        ("latency", "10m", "ms"),
        ("latency", "10GB", "10ms"),
        ("macs", "1GB", "1G"),
        ("params", "many", "6M"),
        ("params", "", "6M"),
        ("params", "-5M", "6M"),
        ("params", "0", "above 0"),
        ("params", "1.2.3M", "above 0"),
        ("params", "1e999", "above 0"),
        ("size", "nan", "20MB"),
        ("speed", "3", "latency"),
    ],
)
def test_what_is_no_amount_is_told(quantity: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_amount(quantity, text)


def test_several_limits() -> None:
    expected = (Limit("latency", 0.008), Limit("params", 6e6))
    assert parse_limits(["latency=8ms,params=6M"]) == expected
    assert parse_limits(["latency=8ms", " Params = 6M ,"]) == expected
    assert parse_limits([]) == ()


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("latancy=8ms", "Did you mean 'latency'"),
        ("parameters=6M", "Did you mean 'params'"),
        ("latency", "latency=10ms"),
        ("8ms", "latency=8ms"),
        ("latency=8ms,latency=9ms", "twice"),
        ("latency=8", "unit"),
    ],
)
def test_what_is_no_limit_is_told(word: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_limits([word])
    assert caught.value.exit_code == 2


@given(st.data())
def test_what_is_shown_is_read_again(data: st.DataObject) -> None:
    quantity = data.draw(st.sampled_from(sorted(QUANTITIES)))
    low, high = USUAL[quantity]
    value = math.exp(data.draw(st.floats(math.log(low), math.log(high))))
    text = shown(quantity, value)
    assert parse_amount(quantity, text) == pytest.approx(value, rel=0.0051)
    assert parse_limits([f"{quantity}={text.replace(' ', '')}"])[0].most == parse_amount(
        quantity, text
    )


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        ("latency", 0.00782, "7.82 ms"),
        ("latency", 0.9996, "1000 ms"),
        ("latency", 1.234, "1.23 s"),
        ("macs", 385814752, "0.386 G"),
        ("macs", 52e6, "52 M"),
        ("params", 5288548, "5.29 M"),
        ("size", 21.4e6, "21.4 MB"),
        ("memory", 1.2e9, "1.2 GB"),
        ("train-time", 1680, "28 min"),
        ("train-time", 3 * 3600, "3 h"),
    ],
)
def test_amounts_in_words(quantity: str, value: float, text: str) -> None:
    assert shown(quantity, value) == text


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_example_is_one(quantity: str) -> None:
    (limit,) = parse_limits([f"{quantity}={QUANTITIES[quantity].example}"])
    assert limit.quantity == quantity
    assert QUANTITIES[quantity].example in str(limit).replace(" ", "")


def test_training_time_is_that_of_the_steps() -> None:
    assert "steps" in QUANTITIES["train-time"].help
    assert str(Limit("train-time", 1680)) == "train-time 28 min of steps"


def test_a_limit_is_kept_up_to_itself() -> None:
    limit = Limit("latency", 0.01)
    assert limit.kept(0.01)
    assert not limit.kept(0.0100001)
