"""Where units fit, counted by hand, and what is said where they never will."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamt_ray.execution.scheduler.placement import (
    GangSize,
    InfeasibleError,
    Node,
    Share,
    Slots,
    describe,
    fleet_slots,
    gang_size,
    largest_share,
    slots_of_gang,
)
from tamt_ray.spec.execution import Execution

LAPTOP: Node = {"CPU": 2.0}
A100S: Node = {"CPU": 32.0, "GPU": 4.0, "memory": 1e11}
SPOT: Node = {"CPU": 8.0, "GPU": 1.0}


def execution(search: dict[str, object] | None = None, **finetune: object) -> Execution:
    return Execution.model_validate({"search": search or {}, "finetune": finetune})


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "places"),
    [
        ([LAPTOP], 1, 0, 2),
        ([LAPTOP], 0.5, 0, 4),
        ([LAPTOP], 0.1, 0, 20),
        ([A100S], 1, 0.5, 8),
        ([A100S], 1, 0.25, 16),
        ([A100S], 4, 0.25, 8),
        ([A100S], 1, 1 / 3, 12),
        ([A100S], 1, 0.3333334, 12),
        ([A100S], 1, 1, 4),
        ([A100S], 1, 2, 2),
        ([A100S], 1, 3, 1),
        ([A100S, SPOT], 1, 2, 2),
        ([A100S, SPOT, LAPTOP], 2, 0.5, 8 + 2 + 0),
        ([A100S, SPOT, LAPTOP], 3, 0, 10 + 2 + 0),
        ([LAPTOP, LAPTOP, LAPTOP], 2, 0, 3),
    ],
)
def test_places_of_the_fleet(nodes: list[Node], cpus: float, gpus: float, places: int) -> None:
    slots = fleet_slots(execution(cpus=cpus), nodes, gpus)
    assert (slots.total, slots.cpus, slots.gpus) == (places, cpus, gpus)
    assert slots.free() == places


def test_cpus_of_two_nodes_do_not_add_up_to_one_place() -> None:
    with pytest.raises(InfeasibleError) as caught:
        fleet_slots(execution(cpus=3), [LAPTOP, LAPTOP], 0)
    message = str(caught.value)
    assert "a fine-tune needs 3 CPUs and 0 GPUs" in message
    assert "2 CPUs, 0 GPUs; 2 CPUs, 0 GPUs" in message
    assert "lower `execution.finetune.cpus`" in message


@pytest.mark.parametrize(
    ("nodes", "gpus"), [([LAPTOP], 1), ([LAPTOP], 0.25), ([SPOT, SPOT], 2), ([], 0)]
)
def test_a_request_of_the_fleet_that_no_node_satisfies(nodes: list[Node], gpus: float) -> None:
    with pytest.raises(InfeasibleError, match="no node has them"):
        fleet_slots(execution(), nodes, gpus)


@pytest.mark.parametrize(
    ("search", "nodes", "size"),
    [
        ({}, [LAPTOP], GangSize(1, 1, 0)),
        ({"workers": 2}, [LAPTOP], GangSize(2, 1, 0)),
        ({}, [A100S], GangSize(1, 1, 1)),
        ({"workers": 4, "cpus": 4}, [A100S], GangSize(4, 4, 1)),
        ({"workers": 5}, [A100S, SPOT], GangSize(5, 1, 1)),
        ({"workers": 6}, [LAPTOP, A100S, SPOT, SPOT], GangSize(6, 1, 1)),
        ({"gpus": 0.5}, [A100S], GangSize(1, 1, 0.5)),
        ({"workers": 2, "gpus": 2}, [A100S], GangSize(2, 1, 2)),
        ({"workers": 2, "gpus": 0}, [A100S], GangSize(2, 1, 0)),
    ],
)
def test_the_size_of_a_gang(search: dict[str, object], nodes: list[Node], size: GangSize) -> None:
    """`auto` is a whole GPU a worker where there are any, none elsewhere."""
    assert gang_size(execution(search), nodes) == size


@pytest.mark.parametrize(
    ("search", "nodes", "room"),
    [
        ({"workers": 3}, [LAPTOP], 2),
        ({"cpus": 3}, [LAPTOP, LAPTOP], 0),
        ({"gpus": 1}, [LAPTOP], 0),
        ({"gpus": 2}, [SPOT, SPOT], 0),
        ({"workers": 5}, [A100S], 4),
        ({"workers": 5, "gpus": 1}, [A100S], 4),
        ({"workers": 3, "cpus": 5}, [SPOT, {"CPU": 4.0, "GPU": 8.0}], 1),
        ({}, [], 0),
    ],
)
def test_gangs_that_never_fit(search: dict[str, object], nodes: list[Node], room: int) -> None:
    with pytest.raises(InfeasibleError) as caught:
        gang_size(execution(search), nodes)
    message = str(caught.value)
    assert f"has room for {room}: {describe(nodes)}" in message
    assert "`execution.search.workers`" in message


def test_what_gangs_are_promised_the_fleet_leaves_free() -> None:
    slots = Slots(total=8, cpus=1, gpus=0.5)
    slots.promise("a", 2)
    slots.promise("b", 4)
    assert slots.free() == 2
    slots.promise("b", 4)
    assert slots.free() == 2, "a promise to one gang counts once"
    slots.promise("c", 4)
    assert slots.free() == 0
    slots.give_back("b")
    slots.give_back("b")
    assert slots.free() == 2
    for gang in ("a", "c", "unknown"):
        slots.give_back(gang)
    assert slots.free() == 8


@pytest.mark.parametrize(
    ("size", "slots", "taken"),
    [
        (GangSize(1, 1, 0), Slots(2, 1, 0), 1),
        (GangSize(2, 1, 0), Slots(4, 0.5, 0), 4),
        (GangSize(1, 1, 1), Slots(4, 1, 1), 1),
        (GangSize(1, 1, 1), Slots(12, 1, 1 / 3), 3),
        (GangSize(2, 2, 1), Slots(16, 1, 0.25), 8),
        (GangSize(1, 8, 1), Slots(16, 2, 0.5), 4),
        (GangSize(1, 1, 1), Slots(8, 2, 0), 1),
    ],
)
def test_places_that_a_gang_takes(size: GangSize, slots: Slots, taken: int) -> None:
    """By whichever of CPUs and GPUs is scarcer."""
    assert slots_of_gang(size, slots) == taken


@pytest.mark.parametrize(
    ("slots", "share"),
    [
        (Slots(16, 1, 1 / 16), Share(1, 0.5, 8)),
        (Slots(8, 1, 0.25), Share(1, 0.5, 2)),
        (Slots(6, 1, 1 / 3), Share(1, 0.5, 2)),
        (Slots(8, 1, 0.5), Share(1, 1, 2)),
        (Slots(4, 1, 1), Share(1, 1, 1)),
        (Slots(2, 1, 2), Share(1, 2, 1)),
        (Slots(4, 1, 0, most_cpus=4), Share(2, 0, 2)),
        (Slots(4, 2, 0, most_cpus=3), Share(3, 0, 2)),
        (Slots(1, 2, 0, most_cpus=2), Share(2, 0, 1)),
        (Slots(20, 0.1, 0, most_cpus=2), Share(0.2, 0, 2)),
    ],
)
def test_the_larger_share_after_running_out_of_memory(slots: Slots, share: Share) -> None:
    """Half a GPU, then a whole one; without GPUs twice the CPUs that the nodes have."""
    assert slots.wider == share
    assert slots.share == Share(slots.cpus, slots.gpus, 1)


def test_places_are_counted_anew_when_nodes_come_and_go() -> None:
    slots = fleet_slots(execution(cpus=2), [LAPTOP, SPOT], 0)
    slots.promise("a", 1)
    assert (slots.total, slots.most_cpus, slots.free()) == (5, 8, 4)
    slots.resize([LAPTOP])
    assert (slots.total, slots.most_cpus, slots.free()) == (1, 2, 0)
    slots.resize([])
    assert (slots.total, slots.free()) == (0, 0)


GIB = 2**30


@pytest.mark.parametrize(
    ("peak", "device", "share"),
    [(8, 80, 1 / 8), (16, 80, 1 / 4), (2, 16, 1 / 6), (10, 24, 1.0), (30, 24, 1.0), (6.4, 16, 0.5)],
)
def test_the_measured_share(peak: float, device: float, share: float) -> None:
    """k = ⌊device / (1.25 × peak)⌋."""
    assert largest_share(int(peak * GIB), device * GIB) == share


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_a_share_is_one_over_k_and_holds_the_peak(peak: int, device: int) -> None:
    share = largest_share(peak, device)
    assert round(1 / share) == pytest.approx(1 / share)
    assert share == 1 or share * device >= 1.25 * peak * (1 - 1e-9)


def test_the_cluster_in_words() -> None:
    assert describe([A100S, LAPTOP]) == "32 CPUs, 4 GPUs; 2 CPUs, 0 GPUs"
    assert describe([]) == "no node is alive"
