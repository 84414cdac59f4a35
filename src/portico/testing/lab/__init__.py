# SPDX-License-Identifier: Apache-2.0
"""Labs: machines made of namespaces, container engines and virtual machines, for tests and for trying things out."""

from portico.testing.lab.docker import IMAGE, IMAGE_WITH_IPERF, DockerEngine
from portico.testing.lab.host import LabHost
from portico.testing.lab.lab import Lab
from portico.testing.lab.process import CommandFailed, NotReady, Process, Result, wait_until
from portico.testing.lab.vm import VirtualMachine

__all__ = [
    "IMAGE",
    "IMAGE_WITH_IPERF",
    "CommandFailed",
    "DockerEngine",
    "Lab",
    "LabHost",
    "NotReady",
    "Process",
    "Result",
    "VirtualMachine",
    "wait_until",
]
