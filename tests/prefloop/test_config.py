from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.config import ConfigError, apply_settings, check_fields, describe, setting
from prefloop.types import PrefloopError


@dataclass(frozen=True)
class Wheel:
    size: float = setting(26.0, above=0.0, maximum=36.0, help="Inches.", source="ISO 5775")
    spokes: int = setting(32, minimum=3, help="How many.")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Frame:
    lambda_: float = setting(0.5, minimum=0.0, below=1.0, help="A keyword of Python.")
    kind: str = setting("steel", choices=("steel", "carbon"), prefixes=("custom:",), help="Material.")
    painted: bool = setting(True, help="Whether it has paint.")
    note: str = setting("", help="Anything.")
    secret: str = "not settable"

    def __post_init__(self) -> None:
        check_fields(self)

    def hidden(self) -> frozenset[str]:
        return frozenset({"painted"}) if self.kind == "carbon" else frozenset()


@dataclass(frozen=True)
class Bike:
    frame: Frame = field(default_factory=Frame)
    wheels: tuple[Wheel, ...] = (Wheel(), Wheel())
    gears: int = setting(8, minimum=1, help="How many.")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.gears > 20 and self.frame.kind == "steel":
            raise ConfigError("gears must be at most 20 on steel")


def test_a_text_becomes_the_fields_own_type() -> None:
    bike = apply_settings(Bike(), {"frame.lambda": "0.25", "gears": " 11 ", "frame.painted": "no"})
    assert (bike.frame.lambda_, bike.gears, bike.frame.painted) == (0.25, 11, False)


def test_the_object_that_settings_are_applied_to_stays_as_it_was() -> None:
    bike = Bike()
    apply_settings(bike, {"gears": 11})
    assert bike == Bike()


def test_a_bare_key_sets_every_member_and_a_number_one_of_them() -> None:
    assert [w.spokes for w in apply_settings(Bike(), {"wheels.spokes": 28}).wheels] == [28, 28]
    assert [w.spokes for w in apply_settings(Bike(), {"wheels.1.spokes": "28"}).wheels] == [32, 28]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("wheels.size", "x", "wheels.size must be a number > 0 and ≤ 36, not 'x'"),
        ("wheels.size", "0", "wheels.size must be a number > 0 and ≤ 36, not '0'"),
        ("wheels.size", "nan", "wheels.size must be a number > 0 and ≤ 36, not 'nan'"),
        ("wheels.spokes", 2, "wheels.spokes must be a whole number ≥ 3, not 2"),
        ("wheels.spokes", "3.5", "wheels.spokes must be a whole number ≥ 3, not '3.5'"),
        ("gears", True, "gears must be a whole number ≥ 1, not True"),
        ("frame.kind", "wood", "frame.kind must be one of steel, carbon, custom:NAME, not 'wood'"),
        ("frame.kind", "custom:", "frame.kind must be one of steel, carbon, custom:NAME, not 'custom:'"),
        ("frame.painted", "perhaps", "frame.painted must be true or false, not 'perhaps'"),
        ("frame.lambda", 1.0, "frame.lambda must be a number ≥ 0 and < 1, not 1.0"),
        ("gears", "21", "gears must be at most 20 on steel"),
    ],
)
def test_a_bad_value_is_refused_with_the_key_the_value_and_what_is_allowed(
    key: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        apply_settings(Bike(), {key: value})  # type: ignore[dict-item]
    assert str(refusal.value) == message
    assert isinstance(refusal.value, PrefloopError)


@pytest.mark.parametrize("key", ["gear", "frame.colour", "frame.secret", "wheels.2.size", "frame", "", "frame.lambda_"])
def test_an_unknown_key_is_refused_with_those_that_there_are(key: str) -> None:
    with pytest.raises(ConfigError, match=r"no setting .*; known keys: frame\.lambda, frame\.kind, .* gears$"):
        apply_settings(Bike(), {key: "1"})


def test_a_key_that_means_nothing_for_the_part_is_neither_listed_nor_taken() -> None:
    bike = apply_settings(Bike(), {"frame.kind": "carbon"})
    assert "frame.painted" not in [info.key for info in describe(bike)]
    with pytest.raises(ConfigError, match=r"no setting 'frame\.painted'"):
        apply_settings(bike, {"frame.painted": "no"})


def test_settings_that_depend_on_each_other_are_judged_together() -> None:
    for keys in (("gears", "frame.kind"), ("frame.kind", "gears")):
        values = {"gears": "27", "frame.kind": "carbon"}
        assert apply_settings(Bike(), {key: values[key] for key in keys}).gears == 27


def test_describe_lists_each_key_once_with_what_a_form_needs() -> None:
    infos = {info.key: info for info in describe(Bike())}
    assert list(infos) == [
        "frame.lambda",
        "frame.kind",
        "frame.painted",
        "frame.note",
        "wheels.size",
        "wheels.spokes",
        "gears",
    ]
    size = infos["wheels.size"]
    assert (size.type, size.default, size.allowed) == ("number", 26.0, "a number > 0 and ≤ 36")
    assert (size.above, size.maximum, size.source, size.help, size.group) == (
        0.0,
        36.0,
        "ISO 5775",
        "Inches.",
        "wheels",
    )
    assert infos["frame.kind"].choices == ("steel", "carbon")
    assert [infos[key].type for key in ("frame.kind", "frame.painted", "frame.note", "gears")] == [
        "text",
        "flag",
        "text",
        "integer",
    ]


def test_a_part_made_by_hand_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="spokes must be a whole number ≥ 3, not 1"):
        Wheel(spokes=1)
    assert type(Wheel(size=20).size) is float  # an int given for a number becomes one


@given(size=st.floats(min_value=0.001, max_value=36.0), spokes=st.integers(3, 10**6))
def test_what_describe_shows_can_be_set_again_and_changes_nothing(size: float, spokes: int) -> None:
    bike = apply_settings(Bike(), {"wheels.size": size, "wheels.spokes": spokes})
    shown = {info.key: str(info.default) for info in describe(bike)}
    assert apply_settings(Bike(), shown) == bike
