"""The declaration as data: back from JSON the same, and refused where it cannot be meant."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet.errors import UsageError
from effnet.nets.scaling import variant_spec
from effnet.nets.spec import Spec, Stage
from effnet.nets.variants import VARIANTS

SPEC = variant_spec("b0")
STAGE = SPEC.stages[1]
FIELDS = [field.name for field in dataclasses.fields(Spec)]
STAGE_FIELDS = [field.name for field in dataclasses.fields(Stage)]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize("convention", ["torch", "tensorflow"])
@pytest.mark.parametrize("name", VARIANTS)
def test_json_gives_the_same_spec_back(name: str, convention: str) -> None:
    spec = variant_spec(name, convention=convention)
    assert Spec.from_json(spec.to_json()) == spec
    assert Spec.from_dict(json.loads(spec.to_json())) == spec


@given(st.sampled_from(FIELDS), json_values)
def test_a_spec_with_any_value_is_refused_or_comes_back(name: str, value: Any) -> None:
    try:
        spec = Spec.from_dict({**SPEC.to_dict(), name: value})
    except UsageError:
        return
    assert Spec.from_json(spec.to_json()) == spec


@given(st.sampled_from(STAGE_FIELDS), json_values)
def test_a_stage_with_any_value_is_refused_or_comes_back(name: str, value: Any) -> None:
    row = {**dataclasses.asdict(STAGE), name: value}
    try:
        spec = Spec.from_dict({**SPEC.to_dict(), "stages": [row]})
    except UsageError:
        return
    assert Spec.from_json(spec.to_json()) == spec


@given(json_values | st.text())
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(UsageError):
        Spec.from_dict(value)
    with pytest.raises(UsageError):
        Spec.from_json(json.dumps(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 7),
        ("family", "v9"),
        ("family", None),
        ("stem", 0),
        ("stem", 32.0),
        ("stem", "32"),
        ("stem", True),
        ("stem", 10**9),
        ("stages", []),
        ("stages", {}),
        ("stages", "mbconv"),
        ("stages", None),
        ("head", -1),
        ("activation", "gelu"),
        ("activation", ["silu"]),
        ("padding", "valid"),
        ("norm_eps", 0),
        ("norm_eps", math.nan),
        ("norm_eps", "1e-3"),
        ("norm_momentum", 1.5),
        ("norm_momentum", None),
        ("resolution", 0),
        ("train_resolution", 10**6),
        ("dropout", 1),
        ("dropout", -0.1),
        ("dropout", 10**400),
        ("drop_path", math.inf),
        ("in_channels", 0),
        ("classes", 0),
        ("classes", None),
    ],
    ids=lambda value: str(value)[:12] if not isinstance(value, int) else "int",
)
def test_a_value_that_cannot_be_meant(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        Spec.from_dict({**SPEC.to_dict(), name: value})
    if name != "stages":
        with pytest.raises(UsageError, match=name):
            SPEC.with_(**{name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "resnet"}, "block 'resnet' is not one of mbconv, fused"),
        ({"block": None}, "block None"),
        ({"repeats": 0}, "repeats 0"),
        ({"repeats": 10**9}, "repeats"),
        ({"kernel": 4}, "kernel 4 is not odd"),
        ({"kernel": 1}, "kernel 1 is not from 3"),
        ({"stride": 3}, "stride 3"),
        ({"expansion": 0}, "expansion 0"),
        ({"channels": 2.5}, "channels 2.5 is not of type int"),
        ({"squeeze": 1.5}, "squeeze 1.5"),
        ({"squeeze": math.nan}, "squeeze nan"),
        ({"experts": -1}, "experts -1"),
        ({"residual": 1}, "residual 1 is not of type bool"),
        ({"expand_from": 0}, "expand_from 0"),
        ({"block": "fused"}, "a fused block has neither squeeze nor experts"),
        ({"expansion": 1, "experts": 4}, "without expansion"),
        ({"expansion": 1, "expand_from": 24}, "without expansion"),
        ({"inner": [96]}, "inner has 1 widths for 2 blocks"),
        ({"inner": 96}, "inner 96 is not of type"),
        ({"inner": [96, 0]}, "inner 0 is not a whole number from 1"),
        ({"inner": [96, 8.0]}, "inner 8.0 is not a whole number"),
        ({"inner": [96, True]}, "inner True is not a whole number"),
        ({"squeezed": [4, 2**17]}, "squeezed 131072 is not a whole number from 1 to 65536"),
        ({"squeezed": [4, 4], "squeeze": 0}, "without squeeze"),
        ({"inner": [96, 96], "expansion": 1}, "without expansion"),
        ({"chanels": 24}, "no field 'chanels'. Did you mean 'channels'?"),
    ],
    ids=str,
)
def test_a_row_that_cannot_be_meant(change: dict[str, Any], message: str) -> None:
    rows = [{**dataclasses.asdict(STAGE), **change}]
    with pytest.raises(UsageError) as caught:
        Spec.from_dict({**SPEC.to_dict(), "stages": rows})
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_widths_of_their_own_are_declared_only_where_there_are_any() -> None:
    plain = SPEC.to_dict()["stages"][1]
    assert not {"inner", "squeezed", "padding"} & set(plain)
    narrow = dataclasses.replace(STAGE, inner=(88, 64), squeezed=(4, 2))
    spec = SPEC.with_(stages=(narrow,))
    assert spec.to_dict()["stages"] == [{**plain, "inner": [88, 64], "squeezed": [4, 2]}]
    assert Spec.from_json(spec.to_json()) == Spec.from_dict(spec.to_dict()) == spec
    assert hash(Spec.from_json(spec.to_json())) == hash(spec)


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no field 'clases'. Did you mean 'classes'\?"):
        SPEC.with_(clases=10)
    with pytest.raises(UsageError, match=r"no field 'stemm'. Did you mean 'stem'\?"):
        Spec.from_dict({**SPEC.to_dict(), "stemm": 1})


def test_missing_fields_are_named() -> None:
    data = SPEC.to_dict()
    del data["head"], data["padding"]
    with pytest.raises(UsageError, match="lacks head, padding"):
        Spec.from_dict(data)
    data = SPEC.to_dict()
    del data["stages"][3]["kernel"]
    with pytest.raises(UsageError, match="lacks kernel"):
        Spec.from_dict(data)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"stages": 1' + "0" * 5000]
)
def test_text_that_is_no_declaration(text: str) -> None:
    with pytest.raises(UsageError):
        Spec.from_json(text)


def test_rows_are_given_as_a_tuple_of_stages() -> None:
    with pytest.raises(UsageError, match="tuple of at least one Stage"):
        SPEC.with_(stages=[STAGE])


def test_feature_channels() -> None:
    # The reduction table of B0 that detectors are built on.
    assert SPEC.feature_channels((2, 4, 8, 16, 32)) == (16, 24, 40, 112, 320)
    assert SPEC.feature_channels((32, 8)) == (320, 40)
    assert SPEC.feature_channels(()) == ()


def test_a_stride_without_features_is_refused() -> None:
    with pytest.raises(UsageError, match="no features at stride 64, only at 2, 4, 8, 16, 32"):
        SPEC.feature_channels((32, 64))
