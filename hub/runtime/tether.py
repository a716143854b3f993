"""Become another program, tied to the life of the parent: `python -I -S tether.py PARENT SIGNAL USER PROGRAM ARG…`.

On Linux the kernel sends SIGNAL to the program when PARENT dies, however it dies. USER is `uid:gid` to drop to, or `-`.
A program of its own because the work has to happen between fork and exec, where a threaded Python may not run code.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: str, signal: str, user: str, *command: str) -> None:
    if user != "-":
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which clears it. A parent that died before this line is one we would never hear of.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the parent is gone")
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
