"""What a submitted job starts on the cluster: check the node's Python, then become the command line.

Run as ``python -m flowsweep.cluster.entry ARGUMENTS...``; imports nothing that may be missing there.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

PACKAGE = (__package__ or "").partition(".")[0]  # __name__ is __main__ when run as a job


def missing_requirements() -> list[str]:
    """What flowsweep requires and this Python does not have, as written in its metadata."""
    wanted = [text for text in requires(PACKAGE) or [] if "extra ==" not in text]
    return [text for text in wanted if not _present(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0])]


def _present(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def main() -> int:
    """Become the command line with this process' arguments, or say what the node lacks."""
    if missing := missing_requirements():
        print(
            f"{PACKAGE}: {sys.executable} on this node lacks: {', '.join(missing)}.\n"
            "Install flowsweep's requirements on every node, or name the Python that has them: "
            "`flowsweep submit ... --python /path/to/python`.",
            file=sys.stderr,
        )
        return 4
    # The same process goes on, so that a stop request reaches the sweep itself.
    os.execv(sys.executable, [sys.executable, "-m", f"{PACKAGE}.platform.cli", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
