"""Compile the GPU's selection without a GPU, for each generation that is named, and print the
instructions of each kernel as JSON."""

import json
import re
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tamt_ray.masks import radix

TYPES = {"values": "*i64", "dense": "*i64", "weights": "*i64", "phi": "*fp32"}
"""All other tensors hold int32."""
GIVEN = {"block": radix.BLOCK, "step": radix.STEP, "magnitude": False}


def compiled(kernel: triton.JITFunction, generation: int, **chosen: int) -> dict[str, int]:
    """Vector loads and stores, and bytes spilled to memory."""
    given = {**GIVEN, **chosen}
    constants = {name: given[name] for name in kernel.arg_names if name in given}
    signature = {
        name: "constexpr" if name in constants else TYPES.get(name, "*i32")
        for name in kernel.arg_names
    }
    made = triton.compile(
        ASTSource(kernel, signature, constexprs=constants),
        target=GPUTarget("cuda", generation, 32),
        options={"num_warps": radix.WARPS},
    )
    text = made.asm["ptx"]
    return {
        "loads": len(re.findall(r"ld\.global[.\w:]*\.v4", text)),
        "stores": len(re.findall(r"st\.global[.\w:]*\.v4", text)),
        "binary": len(made.asm["cubin"]),
    }


def every(generation: int) -> dict[str, dict[str, int]]:
    """All kernels by name."""
    found = {
        kernel.__name__: compiled(kernel, generation)
        for kernel in (radix.count_ties, radix.find_cut, radix.write_kept)
    }
    for digit in range(4):
        for kernel in (radix.count_digits, radix.choose_digit):
            found[f"{kernel.__name__} {digit}"] = compiled(kernel, generation, digit=digit)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps({given: every(int(given)) for given in sys.argv[1:]}))
