"""seccomp: a process gives up the right to type into a terminal, for itself and all that it will ever start.

What it typed, the shell that started carnet would run when carnet has ended, outside of every confinement. So `ioctl`
is refused where it asks for that (TIOCSTI) or to paste on a console (TIOCLINUX). The system call has another number on
each architecture, and a kernel serves the programs of several; what is not listed may call nothing.

The numbers are the kernel's; see `Documentation/userspace-api/seccomp_filter.rst` of Linux.
"""

from __future__ import annotations

import os
import struct
import sys

_IOCTL = {
    0xC000003E: 16,  # x86_64
    0x40000003: 54,  # i386
    0xC00000B7: 29,  # aarch64
    0x40000028: 54,  # arm
    0xC00000F3: 29,  # riscv64
    0x80000016: 54,  # s390x
    0xC0000015: 54,  # ppc64le
}
_MACHINES = ("x86_64", "aarch64", "riscv64", "s390x", "ppc64le")
_REQUESTS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: the low half is all that the kernel reads of a request
_X32 = 0x40000000  # a bit in the numbers of x86_64's other calls, among them another ioctl

_NUMBER, _ARCHITECTURE = 0, 4  # where in what the kernel hands over
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # EPERM


def why_not() -> str:
    """The reason why this machine has no such filter, in one line; empty when it has."""
    machine = os.uname().machine
    return "" if machine in _MACHINES else f"carnet does not know how terminals are typed into on {machine}"


def program() -> bytes:
    """The filter, as `struct sock_filter`s."""
    request = 24 + (4 if sys.byteorder == "big" else 0)  # the low half of the second argument
    steps = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for architecture, number in _IOCTL.items():
        steps += [
            (_IF_EQUAL, 0, 8, architecture),  # else on to the next architecture
            (_LOAD, 0, 0, _NUMBER),
            (_IF_AT_LEAST, 5, 0, _X32),
            (_IF_EQUAL, 0, 3, number),
            (_LOAD, 0, 0, request),
            (_IF_EQUAL, 2, 0, _REQUESTS[0]),
            (_IF_EQUAL, 1, 0, _REQUESTS[1]),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
        ]
    steps.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
