"""Values that the processes of a distributed run tell each other before they train together.

They are kept in a TCPStore at MASTER_ADDR and MASTER_PORT: torchrun's own, or else one of the first process. torch uses
the same store when it connects the processes.
"""

import os
import time
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from viewfinder.errors import Problem, UserError
from viewfinder.runs.launcher import Place, is_helper, read_place

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[reportPrivateImportUsage]

LOCAL = "127.0.0.1"
STORE_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT")
"""Environment variables that tell torch where the store is."""
CONNECT_TIME = timedelta(minutes=15)
"""Time that processes may start after one another."""
POLL_SECONDS = 0.05
PORTS = range(15_000, 30_000)
"""Ports of runs that srun has started, below those that systems hand out."""


class Rendezvous:
    """Named texts that processes of one run share; each run of a program has its own.

    Attributes:
        place: place among the processes that torchrun or srun has started; None if Lightning starts them.
        address: host of the first process.
        files: descriptors of files that other processes may open, until `close`.
    """

    store: "TCPStore | None" = None
    """store of this process, which further runs of the program use, too"""
    runs = 0
    """number of distributed runs that this process has begun"""

    def __init__(self) -> None:
        self.place = read_place()
        if Rendezvous.store is None:
            Rendezvous.store = _open_store(self.place)
        self.address, self.files = os.environ["MASTER_ADDR"], list[int]()
        Rendezvous.runs += 1
        self.prefix = f"viewfinder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{Rendezvous.runs}"

    @property
    def rank(self) -> int:
        """Number of this process."""
        return int(os.environ.get("LOCAL_RANK", 0)) if self.place is None else self.place.rank

    @property
    def node(self) -> int:
        """Number of this node."""
        return 0 if self.place is None else self.place.node

    @property
    def is_first_on_node(self) -> bool:
        """True in the first process of each node."""
        return self.rank == 0 if self.place is None else self.place.local_rank == 0

    @property
    def is_on_one_node(self) -> bool:
        """True if all processes run on one node."""
        return self.place is None or self.place.nodes == 1

    def publish(self, name: str, value: str) -> None:
        """Set a value for all processes."""
        assert self.store is not None
        self.store.set(f"{self.prefix}/{name}", value)

    def receive(self, name: str) -> str:
        """Return a value, as soon as a process has set it."""
        assert self.store is not None
        key = f"{self.prefix}/{name}"
        try:
            while not self.store.check([key]):  # `get` alone would not let a signal through
                time.sleep(POLL_SECONDS)
            return self.store.get(key).decode()
        except RuntimeError as error:
            problem = Problem("the first process", "has ended before the processes have met")
            raise UserError("the processes", [problem]) from error

    def close(self) -> None:
        """Close the files, and forget the store if no process has joined; otherwise torch goes on using it."""
        for file in self.files:
            os.close(file)
        if self.place is None and "LOCAL_RANK" not in os.environ:
            Rendezvous.store, Rendezvous.runs = None, 0
            for name in STORE_VARIABLES:
                os.environ.pop(name, None)


def _open_store(place: Place | None) -> "TCPStore":
    """Connect to the store of a run's processes, or create it.

    Raises:
        UserError: if the store's port is in use, or the first process cannot be reached.
    """
    from torch.distributed import DistNetworkError, TCPStore  # type: ignore[reportPrivateImportUsage]

    if place is None:
        if is_helper():
            return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=CONNECT_TIME)
        store = TCPStore(LOCAL, 0, is_master=True, wait_for_workers=False)
        os.environ |= {"MASTER_ADDR": LOCAL, "MASTER_PORT": str(store.port)}
    else:
        if place.launcher == "srun":
            _choose_srun_address(place)
        address, port = os.environ.get("MASTER_ADDR", LOCAL), int(os.environ.get("MASTER_PORT", 29_500))
        is_host = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        options: dict[str, Any] = {"is_master": True, "wait_for_workers": False} if is_host else {}
        try:
            store = TCPStore(address, port, timeout=CONNECT_TIME, **options)
        except DistNetworkError as error:
            rule = (
                "cannot be opened by the first process" if is_host else "does not answer: the first process has ended"
            )
            reason = " ".join(str(error).split())[:200]
            remedy = f"Set MASTER_PORT to a free port. {reason}" if is_host else reason
            raise UserError("the launcher", [Problem("MASTER_PORT", rule, f"{address}:{port}", remedy)]) from error
        os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # torch shall not open another
    os.environ.setdefault("TORCHELASTIC_RESTART_COUNT", "0")
    return store


def _choose_srun_address(place: Place) -> None:
    """Set MASTER_ADDR and MASTER_PORT, unless the user has set them: the first node, and a port for each job step."""
    if place.nodes == 1:
        first = LOCAL
    else:
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ["SLURM_NODELIST"]
        first = SLURMEnvironment.resolve_root_node_address(nodes)
    step = "/".join(os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"))
    os.environ.setdefault("MASTER_ADDR", first)
    os.environ.setdefault("MASTER_PORT", str(PORTS[zlib.crc32(step.encode()) % len(PORTS)]))


def share_text(name: str, text: str | None) -> str:
    """Return a text of the first process in every process of a run; without a distributed run, the text itself.

    Args:
        name: name of the text.
        text: the text in the first process, None in helper processes.
    """
    if current is None:
        assert text is not None
        return text
    if text is None:
        return current.receive(name)
    current.publish(name, text)
    return text


current: Rendezvous | None = None
"""rendezvous of the distributed run that this process trains; None if it trains alone"""
