"""docs/cluster.md word by word on hosts reached by ssh, one of which is lost in the middle.

`pytest -m cluster -s tests/cluster/test_ray_up.py` shows the session. As root; see hosts.py.
"""

import os
import re
import shlex
import time
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tamt_ray.execution.preflight import check
from tamt_ray.plan.expand import expand
from tamt_ray.spec.load import load_sweep
from tests.cluster.hosts import HOME, ROOT, Host, Rack, rack
from tests.cluster.toy import write_toy

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes hosts out of namespaces"),
]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Rack]:
    """Three of them, and a laptop with a checkout."""
    shared = tmp_path / "shared"
    shared.mkdir()
    with rack(shared, "head", "first", "second") as made:
        yield made


def test_from_nothing_to_a_report_with_a_host_lost_on_the_way(hosts: Rack, model_dir: Path) -> None:
    # Enough that every host has work left once its workers have begun, half a minute after others.
    write_toy(my_sweep(hosts), hosts.shared, Path("/shared"), model_dir, seeds=20)
    session(hosts)


def test_the_quickstart_with_a_host_lost_on_the_way(
    hosts: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real model, real data, some twenty minutes; its table is that of README.md, where one machine
    computed it undisturbed. The hosts have no internet: the cache is filled for them."""
    text = (ROOT / "sweeps" / "quickstart.yaml").read_text()
    my_sweep(hosts).write_text(f"{text}\nstore: /shared/store\n")
    monkeypatch.setenv("TAMT_CACHE", str(hosts.shared / "cache"))
    check(load_sweep(my_sweep(hosts)))
    for host in hosts.hosts:
        host.run("echo 'export TAMT_CACHE=/shared/cache' >> ~/.profile")
    hosts.laptop.run("mkdir -p /shared/store && chmod -R o+rwX /shared", "root")
    session(hosts)
    said = hosts.hosts[0].run("cd ~/tamt_ray && ~/venv/bin/python -m tamt_ray.sweep sweeps/my.yaml")
    printed = [line.split() for line in said.splitlines()]
    readme = (ROOT / "README.md").read_text().partition("kd_loss  runs\n")[2]
    rows = [line.split() for line in readme.partition("\n\n")[0].splitlines()]
    assert len(rows) == 5
    assert [row for row in rows if row not in printed] == []


def my_sweep(hosts: Rack) -> Path:
    """The file that docs/cluster.md speaks of, in the laptop's checkout."""
    return hosts.laptop.file(HOME / "checkout" / "sweeps" / "my.yaml")


def documented(section: str) -> list[str]:
    """The commands of a section of docs/cluster.md, without the comments."""
    text = (ROOT / "docs" / "cluster.md").read_text().partition(f"\n## {section}\n")[2]
    blocks = re.findall(r"```sh\n(.*?)```", text.partition("\n## ")[0], re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in lines if not line.startswith("#")]


def wait_for(happened: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.2)


def session(hosts: Rack) -> None:
    """From `ray up` over the loss of a host at work to the report of every unit, and `ray down`."""
    laptop, (head, first, second) = hosts.laptop, hosts.hosts
    commands = iter(documented("Hosts reached by ssh"))

    def type_next(begins: str, reading: str | None = None) -> str:
        """The next command of the docs, typed in the checkout. `reading`: a page that it brings;
        once the page is there, Ctrl-C is typed."""
        command = next(commands)
        assert command.startswith(begins), command
        for told, ours in (("10.0.0.", "10.77.0."), ("you@", "lab@")):
            command = command.replace(told, ours)
        if reading:
            shown = f"until curl -sf {reading} >&2; do sleep 1; done; printf '\\003'"
            command = f"({shown}) | script -qc {shlex.quote(command)} /dev/null || true"
        return laptop.run(f"cd ~/tamt_ray && {command}", timeout=900)

    type_next("(umask 077; ray get-auth-token")
    type_next("ssh-keygen")
    type_next("for host in")
    filled = laptop.file(HOME / "checkout" / "cluster" / "on_prem.yaml")
    text = filled.read_text()
    for blank, value in (
        ("head_ip: FILL-IN", f"head_ip: {head.address}"),
        ("worker_ips: [FILL-IN]", f"worker_ips: [{first.address}, {second.address}]"),
        ("ssh_user: FILL-IN", "ssh_user: lab"),
    ):
        assert blank in text
        text = text.replace(blank, value)
    filled.write_text(text)

    type_next("ray up")
    status = next(commands)

    def active() -> int:
        said = laptop.run(f"cd ~/tamt_ray && {status}")
        # A head that has just started says that there is no status yet.
        found = re.search(r"Active:\s+(\d+) local", said)
        return int(found[1]) if found else 0

    wait_for(lambda: active() == 3, 300)
    nothing_else_listens(laptop, head, first)

    type_next("ray exec --tmux")
    wait_for(lambda: at_work(second), 600)
    hosts.cut_off(second)
    wait_for(lambda: any(hosts.shared.glob("store/reports/*/report.html")), 2400)
    table = re.findall(r"^\S*?(\w+) +(\d+) +(\d+) +(\d+)", type_next("ray exec"), re.MULTILINE)
    kinds = Counter(unit.kind for unit in expand(load_sweep(my_sweep(hosts))).units.values())
    counts = [(kind, str(kinds[kind])) for kind in ("head", "search", "pretrain_eval", "finetune")]
    assert table == [(kind, count, count, "0") for kind, count in counts]
    wait_for(lambda: active() == 2, 120)

    assert "MLflow" in type_next("ray exec -p 5000", reading="http://127.0.0.1:5000/")

    hosts.mend(second)
    wait_for(lambda: active() == 3, 300)
    type_next("ray down")
    wait_for(lambda: not [p for h in hosts.hosts for p in h.processes()], 180)
    assert next(commands, None) is None


def at_work(host: Host) -> bool:
    """Whether a unit is under way there: it writes its log."""
    return any(host.file(Path("/tmp")).glob("tamt-log-*"))


def nothing_else_listens(laptop: Host, *hosts: Host) -> None:
    """Beside ssh all that a host opens asks a stranger for the token, but for Ray's numbers for
    Prometheus; dashboard and MLflow do not show."""
    knock = Path(__file__).with_name("services_knock.py")
    laptop.file(HOME / knock.name).write_bytes(knock.read_bytes())
    for host in hosts:
        places = [line.split()[3].rpartition(":") for line in host.run("ss -Hltn").splitlines()]
        open_ports = {int(port) for at, _, port in places if "127.0.0.1" not in at} - {22}
        assert not open_ports & {8265, 5000}
        tell = f"print({{heard_from({host.address!r}, port) for port in {open_ports}}})"
        said = laptop.run(f'venv/bin/python -c "from services_knock import heard_from; {tell}"')
        assert literal_eval(said.splitlines()[-1]) == {"token", "metrics"}
        assert host.run("stat -c %a ~/.ray/auth_token").split() == ["600"]
