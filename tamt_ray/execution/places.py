"""Places for work: the nodes there are, and those that can come."""

from dataclasses import dataclass

from tamt_ray.execution.cluster.autoscaler import Autoscaler, describe_bundles, wanted
from tamt_ray.execution.cluster.connection import Nodes
from tamt_ray.execution.gang.gangs import Gangs
from tamt_ray.execution.scheduler.board import Demand
from tamt_ray.execution.scheduler.messages import NodesRequested
from tamt_ray.execution.scheduler.placement import GangSize, Slots, room_for
from tamt_ray.spec.execution import SearchLane


@dataclass
class Places:
    """Places of units: the present nodes, and those that an autoscaler can add."""

    lane: SearchLane
    size: GangSize
    nodes: Nodes
    slots: Slots
    gangs: Gangs
    autoscaler: Autoscaler
    waiting: bool = False
    """True where a search is ready, in a gang or not."""

    @property
    def room(self) -> int:
        """Search workers that fit, those on nodes that can come included."""
        return max(1, room_for(self.size, [*self.nodes.resources, *self.autoscaler.to_come]))

    def adjust(self, demand: Demand) -> NodesRequested | None:
        """Start gangs, ask for nodes; what to tell if nothing can begin before some come."""
        self.waiting = bool(demand.paths)
        self.gangs.adjust(demand, self.nodes.resources)
        most = [*self.nodes.resources, *self.autoscaler.to_come]
        bundles = wanted(demand, self.lane, self.size, self.slots, most)
        if self.autoscaler.request(bundles) and not self.slots.total and bundles:
            return NodesRequested(describe_bundles(bundles))
        return None
