"""Processes: started pinned, in their own group, counted by the kernel, and gone when the bench is."""

import ctypes
import os
import signal
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """The bench itself could not do its work; says what and why."""


def _prepare(core):
    """In the child, before exec: on one core, and not outliving the bench even if that is killed."""

    def prepare():
        os.sched_setaffinity(0, {core})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return prepare


class Proc:
    """A running program with everything it has forked."""

    running = []

    def __init__(self, name, argv, core, log):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, preexec_fn=_prepare(core)
            )
        Proc.running.append(self)

    def alive(self):
        return self.popen.poll() is None

    def tail(self, lines=15):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def cpu(self):
        """CPU seconds (user + system) of the whole tree since it started. `cutime` and `cstime` hold the children
        that are gone, so nothing is lost when one of them ends between two readings."""
        return sum(sum(int(x) for x in s[11:15]) for s in tree(self.popen.pid).values()) / TICK

    def rss(self):
        """(VmRSS, VmHWM) of the tree in KiB; pages that a parent and its child share are counted twice."""
        now = peak = 0
        for pid in tree(self.popen.pid):
            try:
                with open(f"/proc/{pid}/status") as f:
                    fields = dict(line.split(":", 1) for line in f if ":" in line)
            except (FileNotFoundError, ProcessLookupError):
                continue
            now += int(fields.get("VmRSS", "0 kB").split()[0])
            peak += int(fields.get("VmHWM", "0 kB").split()[0])
        return now, peak

    def stop(self):
        """SIGTERM to the group, three seconds, SIGKILL."""
        if self in Proc.running:
            Proc.running.remove(self)
        for sig, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 3)):
            try:
                os.killpg(self.popen.pid, sig)
            except (ProcessLookupError, PermissionError):
                pass
            end = time.monotonic() + patience
            while time.monotonic() < end:
                self.popen.poll()
                if not _group_lives(self.popen.pid):
                    return
                time.sleep(0.02)


def stop_all():
    for proc in list(reversed(Proc.running)):
        proc.stop()


def _group_lives(pgid):
    try:
        os.killpg(pgid, 0)
        return True
    except (ProcessLookupError, PermissionError):
        return False


def _stats():
    """pid → fields of /proc/PID/stat from the state on (index 0 is the state, 1 the parent, 11 utime)."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as f:
                    found[int(entry)] = f.read().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def tree(root):
    """The stat fields of `root` and all its descendants."""
    stats = _stats()
    if root not in stats:
        raise BenchError(f"process {root} is gone")
    members, grew = {root}, True
    while grew:
        more = {pid for pid, s in stats.items() if int(s[1]) in members} - members
        members |= more
        grew = bool(more)
    return {pid: stats[pid] for pid in members}


def core_busy(core):
    """Seconds that `core` has spent on anything but idling, by the kernel's ticks (coarse)."""
    with open("/proc/stat") as f:
        for line in f:
            if line.startswith(f"cpu{core} "):
                user, nice, system, _idle, _iowait, irq, softirq, steal = (int(x) for x in line.split()[1:9])
                return (user + nice + system + irq + softirq + steal) / TICK
    raise BenchError(f"/proc/stat does not know core {core}")
