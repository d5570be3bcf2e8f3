"""A driver as a process of its own: holds the lease and writes what it is told to."""

import sys

from store_cases import failure_of, record_of, unit

from tamt_ray.store.lease import Lease, Pace
from tamt_ray.store.store import Store
from tamt_ray.store.trouble import LeaseLostError

plain = Store(sys.argv[1])
with Lease.acquire(plain.files, "toy", Pace(0.05, 0.6)) as lease:
    store = Store(sys.argv[1], lease.fence)
    acts = {
        "record": lambda: store.commit(record_of(unit()), {"mask.safetensors": b"late"}),
        "failure": lambda: store.fail(failure_of(unit())),
        "report": lambda: store.write("reports/toy/report.html", b"late"),
        "watch": lease.raise_if_lost,
    }
    sys.stdout.write(f"held {lease.fence.epoch}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        try:
            acts[line.strip()]()
            answer = "written"
        except LeaseLostError as error:
            answer = f"refused {error}"
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
