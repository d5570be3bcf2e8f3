"""Hosts to test `ray up` on: namespaces of this machine with addresses, processes and a real sshd.

Linux, as root, after `apt-get install -y openssh-server iproute2 rsync tmux`. They hang on a bridge
that leads nowhere, they leave nothing behind, and they install nothing: their ~/venv stands on the
environment the tests run in, which they can read and not write.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
USER = "lab"
HOME = Path("/home") / USER
LAPTOP = "10.77.0.1"
MAINTENANCE = ("/usr/sbin/sshd", "sshd:", "bash", "sleep ", "ssh ", "ssh:", "tmux", "ps ")
"""What a host runs that is not Ray."""


@dataclass(frozen=True)
class Host:
    """A host that is up; `pid` is its first process, as this machine counts."""

    name: str
    address: str
    pid: int

    def run(self, command: str, user: str = USER, timeout: float = 300) -> str:
        """What a login shell there prints, both streams; it is shown as well, for `pytest -s`.

        Raises AssertionError where it ends with another code than 0."""
        sys.stdout.write(f"\n{user}@{self.name}$ {command}\n")
        inside = ["nsenter", f"--target={self.pid}", "--all"]
        done = subprocess.run(
            [*inside, "runuser", "--login", user, "--command", command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=timeout, check=False,
        )  # fmt: skip
        sys.stdout.write(done.stdout)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def file(self, path: Path) -> Path:
        """A file of the host as this machine sees it."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/")

    def processes(self) -> list[str]:
        """Command lines of what runs there, less `MAINTENANCE`."""
        inside = ["nsenter", f"--target={self.pid}", "--all", "ps", "-eo", "args="]
        listed = subprocess.run(inside, stdout=subprocess.PIPE, text=True, check=True).stdout
        return [line for line in listed.splitlines() if not line.startswith(MAINTENANCE)]


@dataclass(frozen=True)
class Rack:
    """A laptop with a checkout, in the same network as the hosts it can ssh to."""

    laptop: Host
    hosts: tuple[Host, ...]
    shared: Path
    """Seen by all as /shared, as if by NFS."""

    def cut_off(self, host: Host) -> None:
        """Pull the cable: nothing comes and goes any more, and nobody is told."""
        sys.stdout.write(f"\n[the cable of {host.name} is pulled]\n")
        self.laptop.run(f"ip link set {host.name} down", "root")

    def mend(self, host: Host) -> None:
        """Put it back."""
        self.laptop.run(f"ip link set {host.name} up", "root")


@contextmanager
def rack(shared: Path, *names: str) -> Iterator[Rack]:
    """Hosts of these names and a laptop, until the end of the context."""
    shared.chmod(0o1777)
    with ExitStack() as stack:
        laptop = stack.enter_context(_host("laptop", LAPTOP, shared))
        wire = f"nsenter --target={laptop.pid} --net ip"
        _sh(f"{wire} link add bridge type bridge")
        _sh(f"{wire} address add {LAPTOP}/24 dev bridge")
        _sh(f"{wire} link set bridge up")
        hosts: list[Host] = []
        for number, name in enumerate(names, start=11):
            host = stack.enter_context(_host(name, f"10.77.0.{number}", shared))
            _sh(f"{wire} link add {name} type veth peer name eth0 netns {host.pid}")
            _sh(f"{wire} link set {name} master bridge up")
            inside = f"nsenter --target={host.pid} --net ip"
            _sh(f"{inside} address add {host.address}/24 dev eth0")
            _sh(f"{inside} link set eth0 up")
            hosts.append(host)
        _settle(laptop, hosts)
        yield Rack(laptop, tuple(hosts), shared)


def _settle(laptop: Host, hosts: list[Host]) -> None:
    """What the reader of docs/cluster.md has: the project installed, a checkout, a way in."""
    parts = "cluster docs sweeps tamt_ray pyproject.toml README.md"
    checkout = laptop.file(HOME / "checkout")
    _sh(f"mkdir {checkout} && cd {ROOT} && cp -r {parts} {checkout}")
    laptop.run(f"chown -R {USER}: {HOME}/checkout", "root")
    laptop.run(f"ln -s checkout {HOME}/tamt_ray")
    laptop.run("echo 'PATH=$HOME/venv/bin:$PATH' >> ~/.profile")
    laptop.run("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519")
    key = laptop.file(HOME / ".ssh/id_ed25519.pub").read_text()
    for host in hosts:
        host.run(f"umask 077; echo '{key.strip()}' > ~/.ssh/authorized_keys")
        # The install on it is done: see the `setup_commands`.
        packages = host.file(HOME / "venv" / "pyproject.toml")
        packages.write_bytes((ROOT / "pyproject.toml").read_bytes())
        laptop.run(f"ssh-keyscan {host.address} >> ~/.ssh/known_hosts 2>/dev/null")


@contextmanager
def _host(name: str, address: str, shared: Path) -> Iterator[Host]:
    unshare = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child"]
    boot = [HERE / "host.sh", name, USER, shared, sys.prefix, sys.base_prefix]
    with subprocess.Popen([*unshare, *boot], start_new_session=True) as process:
        try:
            host = Host(name, address, _child(process))
            while not host.file(Path("/run/host_is_up")).exists():
                assert process.poll() is None, f"{name} does not come up"
                time.sleep(0.05)
            yield host
        finally:
            # With its first process goes every process of a pid namespace.
            process.kill()


def _child(process: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := children.read_text().split()):
        assert process.poll() is None, "no new namespaces; that takes root"
        time.sleep(0.01)
    return int(found[0])


def _sh(command: str) -> None:
    subprocess.run(command, shell=True, check=True)
