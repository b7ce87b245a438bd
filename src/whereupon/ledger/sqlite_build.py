"""Which builds of SQLite may run in WAL mode, and what the file system below a database allows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs"}
)


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Tell whether a build can lose committed transactions when two connections checkpoint at once.

    Releases 3.7.0 to 3.51.2 have the bug; it is mended in 3.51.3 and in 3.50.7 and 3.44.6.
    """
    if version < (3, 7, 0) or version >= (3, 51, 3):
        return False
    return not ((3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0))


def file_system_of(path: Path) -> str:
    """Return the type of the file system that a path lies on; empty where the system does not say."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    found = ("", "")
    for line in mounts:
        _, point, kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        below = real == point or real.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def is_network(kind: str) -> bool:
    """Tell whether a file system is one on which SQLite's locks cannot be trusted."""
    return kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse.sshfs")
