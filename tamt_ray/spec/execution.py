"""Placement, width and retries of units; nothing here changes a result or an identity."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from tamt_ray.values.base import Count, Frozen, Positive

Gpus = Annotated[
    Annotated[float, Field(ge=0), Tag("share")] | Annotated[Literal["auto"], Tag("word")],
    Discriminator(lambda gpus: "word" if isinstance(gpus, str) else "share"),
]
GangCount = Annotated[
    Annotated[Count, Tag("count")] | Annotated[Literal["auto"], Tag("word")],
    Discriminator(lambda gangs: "word" if isinstance(gangs, str) else "count"),
]


class Resources(Frozen):
    """Resources of one process."""

    cpus: Positive = 1.0
    """CPUs that Ray reserves for one search worker or fine-tune; may be a fraction."""
    gpus: Gpus = "auto"
    """`auto`: none without GPUs; a whole one a search worker; the measured share a fine-tune."""
    graphs: bool = False
    """On GPUs, replay micro-batches of a search, or a fine-tune's steps of batch shapes that come
    often, as CUDA graphs: the same computation with less work for the host. A unit that is tried
    again runs without them. Never run on a GPU yet. Part of no identity."""

    @model_validator(mode="after")
    def _exact_shares(self) -> Self:
        # Ray packs exactly only whole devices or k equal shares of one.
        gpus = 0.0 if self.gpus == "auto" else self.gpus
        whole = gpus == int(gpus) if gpus >= 1 else gpus == 0
        if not whole and (gpus > 1 or abs(round(1 / gpus) - 1 / gpus) >= 1e-6):
            raise ValueError("gpus must be auto, 0, 1/k such as 0.5 or 0.25, or a whole number")
        return self

    @model_validator(mode="after")
    def _graphs_need_gpus(self) -> Self:
        if self.graphs and self.gpus == 0:
            raise ValueError("CUDA graphs need a GPU; leave out `graphs`, or set `gpus: auto`")
        return self


class FinetuneLane(Resources):
    """The fine-tune fleet."""

    share: Literal["time", "mps"] = "time"
    """Sharing of a GPU among fine-tunes that have a fraction of it each: in turns (`time`), or at
    the same time by NVIDIA's Multi-Process Service (`mps`), whose daemon has to run on every
    node. Under it a CUDA error of one fine-tune ends its neighbours too; they are tried again.
    Part of no identity."""


class SearchLane(Resources):
    """The search gangs."""

    workers: Count = 1
    """DDP workers of a gang, the most of them with `gangs: auto`; 1 where `gpus` is a share of one
    GPU. Does not change the global batch nor the data order. Only with `search.gradients: bfloat16`
    is it part of a search's identity."""
    gangs: GangCount = 1
    """Gangs that search side by side. `auto`: one for every search that is ready while there is
    room, narrow ones while searches abound, wider ones for the last; fine-tunes get what is left.
    A gang has a process of its own on the head node."""
    state_every: Positive = 300.0
    """Seconds between two saved states of a running search; so much is lost with a machine."""
    keep_states: bool = True
    """Keep the last state of a mask training, three numbers a weight, so that the same training can
    go on when more steps are asked for."""

    @model_validator(mode="after")
    def _one_worker_on_a_shared_gpu(self) -> Self:
        if self.gpus != "auto" and 0 < self.gpus < 1 and self.workers > 1:
            raise ValueError(
                "the workers of a gang cannot share a GPU, which NCCL refuses; set `workers: 1` "
                "or `gpus: 1`"
            )
        return self

    @model_validator(mode="after")
    def _graphs_of_one_worker(self) -> Self:
        if self.graphs and self.workers > 1:
            raise ValueError(
                "CUDA graphs hold no all-reduce between the workers of a gang; set `workers: 1` or "
                "leave out `graphs`"
            )
        return self


class Growth(Frozen):
    """Nodes of one kind that an autoscaler adds when asked."""

    nodes: Count
    """Largest number of nodes."""
    cpus: Positive
    """CPUs of one."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of one."""


class Execution(Frozen):
    """Execution of the sweep: lanes, nodes, retries and waiting times."""

    search: SearchLane = SearchLane()
    """The processes that train searches and MLM heads."""
    finetune: FinetuneLane = FinetuneLane()
    """The processes of all else: fine-tunes, pre-training evaluations, random and OMP masks."""
    growth: tuple[Growth, ...] = ()
    """Node types that the cluster may add: the run asks the autoscaler for the nodes its units need
    and waits for them. Empty: read from the cluster file of `ray up`, if there is one; else the
    nodes that are up at the start must suffice."""
    price: Positive | None = None
    """Dollars for one hour of one device: of a GPU, or of one worker where units run on CPUs. Plan
    and status then say what the rest of the sweep costs."""
    retries: Annotated[int, Field(ge=0)] = 3
    """Restarts of a unit whose worker died or hung, counted anew whenever it got further than
    before; then it is set aside. Lost nodes are not counted."""
    deterministic: bool = False
    """On GPUs, compute by deterministic algorithms only, so that a unit that is computed again, or
    goes on from a saved state, gives the same bits on the same kind of GPU. Slower. Without it such
    units agree up to rounding. CPUs give the same bits either way."""
    patience: Positive = 1800.0
    """Seconds a unit may go without progress before its worker counts as hung and is killed. The
    longest stretch without any is an evaluation, or the first reading of a source."""
    grace: Annotated[float, Field(ge=0)] = 20.0
    """Seconds that units at work have to save their states or to finish once the run is asked to
    end. Kubernetes kills 30 seconds after it asks."""
