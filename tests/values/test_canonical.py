"""One value has one text, and the text holds what decides a result and nothing else."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamt_ray.values.base import INCIDENTAL, Frozen
from tamt_ray.values.identity import Identities, canonical, decisive_dump, identity, written
from tamt_ray.values.model import HeadTraining, Model
from tamt_ray.values.plugin import package_of
from tamt_ray.values.table import Table
from tamt_ray.values.training import Training


class Thing:
    pass


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, {1, 2}, frozenset(), Thing(), b"x", {None: 1}, {(1, 2): 3},
     {math.nan: 1}, [1, [math.nan]], {"a": {"b": {3}}}, Path("x"), complex(1)],
)  # fmt: skip
def test_what_has_no_one_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        identity({"value": value})


def test_canonical_text_by_hand() -> None:
    value = {"b": [1, 2.5, (True, None)], "a": {"ü": "x y", "A": -0.0}, "c": 5e-5, "d": 1e21}
    assert canonical(value) == (
        '{"a":{"A":0,"\\u00fc":"x y"},"b":[1,2.5,[true,null]],"c":5e-05,"d":1000000000000000000000}'
    )


def test_the_id_is_the_sha256_of_the_text() -> None:
    """sha256sum of `{"a":1}`, computed by coreutils."""
    expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert identity({"a": 1}) == expected == hashlib.sha256(b'{"a":1}').hexdigest()


def test_one_and_one_point_zero_are_one_setting() -> None:
    assert canonical({"a": [1, 2.0]}) == canonical({"a": (1.0, 2)}) == '{"a":[1,2]}'
    assert canonical(True) != canonical(1)
    assert canonical("1") != canonical(1)


def test_a_table_by_numbers_is_what_json_makes_of_it() -> None:
    """Steps by sparsity; a record that was written and read again has words as keys."""
    assert canonical({0.5: 1, 10: 2, 9.0: 3}) == '{"0.5":1,"10":2,"9":3}'
    assert canonical({"0.5": 1, "10": 2, "9": 3}) == canonical({9.0: 3, 10: 2, 0.5: 1})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(PLAIN)
def test_canonical_text_keeps_the_value_and_is_a_fixed_point(value: object) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), st.integers(), max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, int], draw: object) -> None:
    keys = list(value)
    draw.shuffle(keys)
    assert identity({key: value[key] for key in keys}) == identity(value)


def test_defaults_are_left_out_and_whatever_differs_from_them_is_not() -> None:
    assert canonical(Table(source="dir:a")) == '{"source":"dir:a"}'
    assert canonical(Table(source="dir:a", tail=0.1)) == '{"source":"dir:a"}'
    assert canonical(Table(source="dir:a", header=False)) == '{"header":false,"source":"dir:a"}'
    assert canonical(Training(decay_steps=9)) == '{"decay_steps":9}'


def test_incidental_fields_are_left_out() -> None:
    told = Model(source="dir:m", head=HeadTraining(steps=3), parameters=5)
    assert canonical(told) == '{"source":"dir:m"}'
    assert canonical(Training(log_every=1)) == "{}"


class Part(Frozen):
    """A value of another package than ours: this file's."""

    method: Literal["wanda"] = "wanda"
    width: int = 3
    pace: Annotated[int, INCIDENTAL] = 1


class Whole(Frozen):
    decisive: ClassVar[Mapping[str, frozenset[str]]] = {"model": frozenset({"source"})}
    version: ClassVar[int] = 7
    model: Model
    parts: tuple[Part, ...]
    mask: str | None = None

    def identity_extras(self) -> Mapping[str, object]:
        return {"extra": [1, "x"]}


HERE = package_of(Part)
WHOLE = Whole(
    model=Model(source="dir:m", pooling="mean"), parts=(Part(), Part(width=4, pace=9))
)  # fmt: skip


def test_a_class_of_ours_has_no_package_and_any_other_has_its_own() -> None:
    assert package_of(Model) == ""
    assert HERE == Part.__module__.partition(".")[0] != "tamt_ray"


def test_package_version_extras_and_chosen_fields_by_hand() -> None:
    """The version where it is not 1, the package where it is not ours, the name always; of the
    model only what its owner calls decisive."""
    assert canonical(WHOLE) == (
        f'{{"extra":[1,"x"],"model":{{"source":"dir:m"}},"package":"{HERE}","parts":['
        f'{{"method":"wanda","package":"{HERE}"}},'
        f'{{"method":"wanda","package":"{HERE}","width":4}}],"version":7}}'
    )
    assert written(WHOLE) == json.loads(canonical(WHOLE))


def test_two_packages_with_one_name_for_a_method_are_two_things() -> None:
    class Other(Part):
        __module__ = "elsewhere.wanda"

    assert identity(Other()) != identity(Part())


def test_what_decides_is_shown_with_its_defaults_and_without_what_is_open() -> None:
    assert decisive_dump(WHOLE) == {
        "model": {"source": "dir:m"},
        "parts": [{"method": "wanda", "width": 3}, {"method": "wanda", "width": 4}],
    }


def test_sharing_texts_changes_no_id() -> None:
    """Also where the same part counts with other fields than before."""
    identities = Identities()
    model = WHOLE.model
    for value in (WHOLE, model, {"model": model, "of": WHOLE}, [model, WHOLE], WHOLE, model):
        assert identities.of(value) == identity(value)
