"""What a submitted job starts on the cluster: check the node's Python, then the sweep, then become the command line.

Run as ``python -m flowsweep.cluster.entry MODE ARGUMENTS...``; imports nothing that may be missing there before it has
looked. Modes: ``take-up FILE`` starts a sweep, or goes on with the one on record that is the same; ``resume NAME`` goes
on with the one on record; ``relay ...`` and ``list`` answer questions of a client.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

PACKAGE = (__package__ or "").partition(".")[0]  # __name__ is __main__ when run as a job
PACKAGES = "FLOWSWEEP_PACKAGES"
"""Names the distributions that came along, whose requirements are looked at too."""
JOB = "FLOWSWEEP_JOB"
"""Names the job to itself."""
READY = "flowsweep: the cluster's checks are passed."
"""What the job prints once nothing of what can be checked at once stands in its way."""
FAILED = "Error: "
"""How its log begins to say why it could not start."""
REFUSED = 3
_OLDEST_PYTHON = (3, 11)


def missing_requirements() -> list[str]:
    """What flowsweep and the packages that came along require and this Python does not have."""
    names = [PACKAGE, *filter(None, os.environ.get(PACKAGES, "").split(","))]
    # Without `packaging`, which may be missing too: what only some Pythons need is judged later.
    wanted = [text for name in names for text in required_by(name) if ";" not in text]
    return [text for text in wanted if not _present(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0])]


def required_by(name: str) -> list[str]:
    """What a distribution requires without extras, as written in its metadata; nothing where it has none."""
    try:
        return [text for text in requires(name) or [] if "extra ==" not in text]
    except PackageNotFoundError:
        return []


def _present(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def refuse(problem: str, fix: str) -> int:
    """Say why the job does not start."""
    print(f"{FAILED}{problem}\n{fix}", file=sys.stderr, flush=True)
    return REFUSED


def main() -> int:
    """Become what this process' arguments ask for, or say what the node lacks."""
    if sys.version_info < _OLDEST_PYTHON:
        found, wanted = (".".join(map(str, one)) for one in (sys.version_info[:3], _OLDEST_PYTHON))
        return refuse(
            f"{sys.executable} on this node is Python {found}, flowsweep needs {wanted}.", _OTHER_PYTHON
        )
    if missing := missing_requirements():
        return refuse(f"{sys.executable} on this node lacks: {', '.join(missing)}.", _OTHER_PYTHON)
    from .preflight import carry_out  # needs what was looked for

    return carry_out(sys.argv[1:])


_OTHER_PYTHON = (
    "Install flowsweep's requirements on every node, or name the Python that has them: "
    "`flowsweep submit ... --python /path/to/python`."
)


if __name__ == "__main__":
    sys.exit(main())
