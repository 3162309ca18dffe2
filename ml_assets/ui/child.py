"""`python -m ml_assets.ui.child PARENT MODULE ARGUMENTS`: run a module that ends with the process PARENT.

Linux tells a process of its parent's death; elsewhere it lives on when the parent is killed with -9.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent dies; end now if it has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)


def main() -> None:
    """Run the module that the arguments name."""
    # A shell's `&` has SIGINT ignored, and Dagster does with SIGTERM whatever is done with SIGINT; both are inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with(int(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
