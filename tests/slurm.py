"""A real Slurm on this machine: munged, slurmctld and a slurmd per node, all on loopback, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo")

CONFIG = """
ClusterName=finemill
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmdSpoolDir={root}/spool-%n
StateSaveLocation={root}/state
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/%n.log
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=3
SlurmdTimeout=10
MinJobAge=300
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
"""


class Slurm:
    """A cluster of `nodes` nodes with two cores each, of which Slurm knows no more than that."""

    def __init__(self, root: Path, nodes: int = 1) -> None:
        self.root, self.nodes = root, [f"n{number}" for number in range(1, nodes + 1)]
        self.environment = {**os.environ, "SLURM_CONF": str(root / "slurm.conf")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        host = socket.gethostname().split(".")[0]
        ports = _free_ports(1 + len(self.nodes))
        lines = [CONFIG.format(root=self.root, host=host, port=ports[0])]
        for name, port in zip(self.nodes, ports[1:], strict=True):
            (self.root / f"spool-{name}").mkdir(parents=True)
            address = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            lines.append(f"NodeName={name} {address} CPUs=2 RealMemory=4000 State=UNKNOWN")
        # A job of the second partition takes the place of one of the first, which may go on for eight more seconds.
        for name, more in (("all", "Default=YES GraceTime=8"), ("urgent", "PriorityTier=2 PreemptMode=OFF")):
            lines.append(f"PartitionName={name} Nodes={','.join(self.nodes)} State=UP MaxTime=INFINITE {more}")
        (self.root / "state").mkdir()
        (self.root / "slurm.conf").write_text("\n".join(lines) + "\n")
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        options = ["--key-file", key, "--socket", self.root / "munge.socket", "--pid-file", self.root / "munged.pid"]
        options += ["--log-file", self.root / "munged.log", "--seed-file", self.root / "munged.seed", "--force"]
        self._start("munged", "munged", "--foreground", *options)
        while not (self.root / "munge.socket").exists():
            time.sleep(0.05)
        self._start("slurmctld", "slurmctld", "-D")
        for name in self.nodes:
            self.start_node(name)
        states = ["sinfo", "-h", "-p", "all", "-o", "%D %t"]
        self.wait(lambda: self.run(*states) == f"{len(self.nodes)} idle", "idle nodes")

    def start_node(self, name: str) -> None:
        self._start(name, "slurmd", "-D", "-N", name)

    def kill_node(self, name: str) -> None:
        """Kill a node's daemon; what it runs goes on."""
        self._processes[name].kill()
        self._processes[name].wait()

    def stop(self) -> None:
        if "slurmctld" in self._processes:
            self.run("scancel", "--full", "-u", "root", check=False)
            self.wait(lambda: not self.queue(), "an empty queue", 30)
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def run(self, *command: object, check: bool = True) -> str:
        done = subprocess.run([*map(str, command)], env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout.strip()

    def queue(self, job: str = "") -> list[str]:
        """The state of every job that is not over, such as `12_0 RUNNING n1`."""
        only = ["-j", job] if job else []
        command = ["squeue", "-h", "-r", "-o", "%i %T %N", *only]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode and "Invalid job id" not in done.stderr:
            return [done.stderr.strip()]  # a busy controller that does not answer does not mean that nothing is left
        return done.stdout.splitlines()

    def wait(self, condition: Any, what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {seconds} s: {self.queue()}\n{self._tails()}"
            time.sleep(0.1)

    def _start(self, name: str, *command: object) -> None:
        log = (self.root / f"{name}.out").open("ab")
        arguments = [shutil.which(str(command[0])) or f"/usr/sbin/{command[0]}", *map(str, command[1:])]
        self._processes[name] = subprocess.Popen(arguments, env=self.environment, stdout=log, stderr=log)

    def _tails(self) -> str:
        logs = sorted(self.root.glob("*.log")) + sorted(self.root.glob("*.out"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in logs)


def missing() -> list[str]:
    """Programs of Slurm that are not installed here."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
