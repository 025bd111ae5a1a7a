"""Who computes what: file locks that divide the missing shards among processes and machines.

The operating system frees the locks of a dead process, so nothing has to expire. The disk must
support flock (local disks, NFS 4, Lustre mounted with -o flock); where it does not, claiming fails
at once instead of falling back to marker files, which a killed process would leave for ever.
"""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from harmonia.errors import InputError
from harmonia.store.files import SAY_AGAIN_S, disk_errors, holder, locked

log = logging.getLogger(__name__)
POLL_S = 0.2
_NAMED = 8  # of those waited for


def claim(locks: Path, missing: Callable[[], list[int]], is_done: Callable[[int], bool]) -> Generator[int]:
    """Shards to compute, each under its lock until the caller comes back; see ShardSet.claims."""
    if not missing():
        return  # a finished set may lie on a read-only disk
    say_at = 0.0
    with _at_work(locks):
        while shards := missing():
            moved = False
            for shard in shards:
                with shard_lock(locks, shard) as held:
                    moved |= held
                    if not held or is_done(shard):  # its last holder finished between our look and our lock
                        continue
                    yield shard
                    if not is_done(shard):
                        raise RuntimeError(
                            f"shard {shard} in {locks.parent} was claimed but not written; "
                            "call write before asking for the next claim"
                        )
            if not moved:
                if (now := time.monotonic()) >= say_at:
                    say_at = now + SAY_AGAIN_S
                    who = dict.fromkeys(holder(_lock(locks, shard)) for shard in shards[:_NAMED])
                    log.warning("waiting for %d shards that others compute: %s", len(shards), "; ".join(who))
                time.sleep(POLL_S)


def shard_lock(locks: Path, shard: int) -> AbstractContextManager[bool]:
    """Whether this process alone may compute or remove the shard."""
    return locked(_lock(locks, shard))


def _lock(locks: Path, shard: int) -> Path:
    return locks / f"shard-{shard:05d}.lock"


def gate(locks: Path, wait: bool = True) -> AbstractContextManager[bool]:
    """Whether the set's own short lock is held: for its manifest, for joining work, for pruning."""
    with disk_errors(locks):
        locks.mkdir(exist_ok=True)
    if locks.is_symlink():  # what lies behind it may be others' locks
        raise InputError(f"{locks}: locks must lie in their set, got a link to elsewhere; remove it and rerun")
    return locked(locks / "set.lock", wait=wait)


def in_use(locks: Path) -> bool:
    """Whether a live process works on the set. Ask while holding the gate, which is not looked at."""
    for path in {*locks.glob("*.lock")} - {locks / "set.lock"}:
        with locked(path) as free:
            if not free:
                return True
    return False


@contextmanager
def _at_work(locks: Path) -> Iterator[None]:
    # A worker holds no shard between two claims; this lock tells prune that it is there nevertheless.
    name = f"worker-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.lock"
    with ExitStack() as working:
        with gate(locks):
            working.enter_context(locked(locks / name))
        try:
            yield
        finally:
            with suppress(OSError):
                (locks / name).unlink(missing_ok=True)
