"""The device that benchmarks compute on, and at which size."""

import time
from dataclasses import dataclass, replace

import torch

from benchmarks.answer import Answer
from benchmarks.shape import BASE, Shape


@dataclass(frozen=True)
class Device:
    """`cpu`, or `cuda`. A `toy` computes what a GPU would, at a size for tests."""

    name: str = "cpu"
    toy: bool = False

    @property
    def torch(self) -> torch.device:
        """Torch's name for it."""
        return torch.device(self.name)

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.name == "cuda"

    @property
    def gpu(self) -> bool:
        """Whether the benchmarks of a GPU are asked for."""
        return self.cuda or self.toy

    @property
    def calls(self) -> int:
        """Calls between two looks at the clock, so that the host may run ahead of a GPU."""
        return 10 if self.cuda else 1

    @property
    def shape(self) -> Shape:
        """Model and batch of a step on a GPU: 16 × 512 tokens out of 230,000 blocks."""
        large = replace(BASE, length=512, blocks=230_000)
        return Shape("toy", 1, 24, 2, 32) if self.toy else large

    @property
    def words(self) -> str:
        """The device in words."""
        if self.cuda:
            return torch.cuda.get_device_name()
        return "CPU at toy size: speeds have no target" if self.toy else "CPU"

    def wait(self) -> None:
        """Let the device finish what it was given."""
        if self.cuda:
            torch.cuda.synchronize()

    def clock(self) -> float:
        """Seconds when the device has finished: on the wall, of a CPU the processor time."""
        self.wait()
        return time.perf_counter() if self.gpu else time.process_time()

    def allocated(self) -> int:
        """Bytes of Torch's tensors on a GPU."""
        return torch.cuda.memory_allocated() if self.cuda else 0

    def peak(self) -> int:
        """Most bytes of tensors on a GPU since the last call."""
        if not self.cuda:
            return 0
        found = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return found

    def judged(self, answer: Answer) -> Answer:
        """The answer, without its target where a speed at this size says nothing."""
        return replace(answer, target="", meets=True) if self.toy else answer


CPU = Device()
