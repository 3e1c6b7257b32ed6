"""What is wrong with this installation, and what to do about it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..journal.journal import read
from ..paths import Home
from ..store.collect import age
from ..store.opening import check_store, open_store, stage_place
from ..store.stages import StageStore
from ..tracking.check import check_tracker, first_line
from .findings import Finding
from .packages import check_advisories, check_packages, check_python
from .ray_files import check_ray_files
from .ray_probe import RayAnswer, ask_ray

LEAST_FREE_BYTES = 5 * 2**30
CLOCK_TOLERANCE_S = 60.0
RENDER_TIMEOUT_S = 60.0
RENDER_PROBE = (
    "import mujoco; model = mujoco.MjModel.from_xml_string('<mujoco/>'); "
    "renderer = mujoco.Renderer(model, 8, 8); renderer.update_scene(mujoco.MjData(model)); renderer.render()"
)


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        doing: told before it is done, where it starts something or takes time.
    """

    name: str
    look: Callable[[], Iterable[Finding]]
    doing: str = ""


def checks(
    home: Home,
    *,
    tracker: str | None = None,
    ray: bool = True,
    cluster: Callable[[], Iterable[Finding]] | None = None,
) -> list[Check]:
    """Everything to look at, the quick first.

    Args:
        home: where everything is kept.
        tracker: tracking URI; the embedded one when None.
        ray: start an embedded Ray and run a task on it.
        cluster: how to ask the cluster, instead of starting Ray here.
    """
    found = [
        Check("python", check_python),
        Check("packages", check_packages),
        Check("security", check_advisories),
        Check("ray files", check_ray_files),
        Check("home", partial(check_home, home)),
        Check("stages", partial(check_stages, home), "asking the stage store"),
        Check("records", partial(check_records, home), "reading every journal"),
        Check("datasets", check_datasets),
        Check("systems", check_systems, "loading every registered system"),
        Check("tracker", partial(check_tracking, home, tracker), "asking the tracker"),
        Check("rendering", check_rendering, "rendering one frame in a process of its own"),
    ]
    if cluster is not None:
        found.append(Check("cluster", cluster, "asking the cluster"))
    elif ray:
        doing = "starting an embedded Ray for one task (leave out with --no-ray)"
        found.append(Check("ray", check_ray, doing))
    return found


def examine(
    checks: Iterable[Check], announce: Callable[[str], None] = lambda doing: None
) -> Iterator[Finding]:
    """Look at one thing after the other. What breaks a check is a finding, so that the others still run."""
    for check in checks:
        if check.doing:
            announce(check.doing)
        try:
            yield from check.look()
        except UserError as error:
            yield Finding(
                check.name, "problem", str(error).removesuffix(error.fix or "").strip(), error.fix or ""
            )
        except Exception as error:
            yield Finding(
                check.name, "problem", f"could not be looked at: {type(error).__name__}: {first_line(error)}"
            )


def check_home(home: Home) -> Iterator[Finding]:
    """The home, and the stage store where it lies elsewhere: writable, lockable, with room."""
    folders = {home.root.resolve()}
    if home.stages.exists():
        folders.add(home.stages.resolve())
    outside = [place for place in folders if not any(place.is_relative_to(o) for o in folders - {place})]
    for folder in sorted(outside):
        yield from check_folder(folder)


def check_stages(home: Home) -> Iterator[Finding]:
    """The stage store `FLOWSWEEP_STAGES` names can be used."""
    place, key = stage_place(home)
    store = open_store(home)
    if isinstance(store, StageStore):
        if key != "FLOWSWEEP_HOME":
            yield from check_folder(store.root)
    else:
        check_store(home)
        yield Finding("stages", "ok", f"{place} takes and gives back an object")


def check_folder(folder: Path, least_free_bytes: int = LEAST_FREE_BYTES) -> Iterator[Finding]:
    """Can files be written and locked here, and is there room? A folder that is not there yet is not made."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    move = "Mend its permissions, or set FLOWSWEEP_HOME to a folder of yours."
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("home", "problem", f"{existing} cannot be written to", move)
        return
    if folder.exists():
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
                file.write(b"x")
                os.fsync(file.fileno())
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield Finding(
                "home", "problem", f"{folder} does not take a locked file: {error.strerror}",
                "Put FLOWSWEEP_HOME on a local disk or NFS 4, which know `flock`.",
            )  # fmt: skip
            return
    free = shutil.disk_usage(existing).free
    made = "" if folder.exists() else " (made by the first command that writes)"
    if free < least_free_bytes:
        yield Finding(
            "home", "warning", f"{folder}{made} has {free / 2**30:.1f} GiB left, less than {least_free_bytes >> 30}",
            "See `flowsweep stages`, then `flowsweep gc --budget SIZE`; or set FLOWSWEEP_HOME to a larger disk.",
        )  # fmt: skip
    else:
        yield Finding("home", "ok", f"{folder}{made} can be written to; {free / 2**30:.0f} GiB free")


def check_records(home: Home, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Every journal can be read, and none is from the future."""
    journals = sorted(home.sweeps.glob("*/journal.jsonl"))
    newest, damaged = 0.0, 0
    for journal in journals:
        try:
            newest = max([newest, *(entry.time for entry in read(journal))])
        except UserError as error:
            damaged += 1
            yield Finding("records", "problem", f"{error.key}: {error.problem}", error.fix or "")
    if not damaged:
        yield Finding("records", "ok", f"{len(journals)} journals, all whole")
    ahead_s = newest - now()
    if ahead_s > CLOCK_TOLERANCE_S:
        yield Finding(
            "clock", "problem", f"the newest recorded event lies {age(ahead_s)} ahead of this machine's clock",
            "Set the clock, or have it set (NTP): ages, leases and durations are wrong until then.",
        )  # fmt: skip
    else:
        yield Finding("clock", "ok", "no recorded fact lies ahead of this machine's clock")


def check_datasets() -> Iterator[Finding]:
    """What there is to learn from."""
    from ...trainables.data.catalogue import local_summaries
    from ...trainables.data.names import minari_root

    root, found = minari_root(), local_summaries()
    if found:
        size = sum(row["bytes"] for row in found) / 2**30
        yield Finding("datasets", "ok", f"{len(found)} in {root}, {size:.1f} GiB")
    else:
        yield Finding(
            "datasets", "info", f"none in {root}",
            "`flowsweep data make pointmaze-umaze` makes one in seconds. Are they elsewhere, set MINARI_DATASETS_PATH.",
        )  # fmt: skip


def check_systems() -> Iterator[Finding]:
    """Every registered system loads, and every space that ships with it names fields it has."""
    from ...trainables.base import System

    systems, broken = {}, False
    for point in entry_points(group="flowsweep.systems"):
        try:
            systems[point.name] = point.load()
            if not isinstance(systems[point.name], System):
                raise TypeError(f"{point.value} is no System")
        except Exception as error:
            broken = True
            yield _broken("system", point.name, point.value, first_line(error))
    for point in entry_points(group="flowsweep.spaces"):
        try:
            wrong = strange_keys(systems.get(point.name), point.load())
        except Exception as error:
            wrong = first_line(error)
        if wrong:
            broken = True
            yield _broken("space", point.name, point.value, wrong)
    if not broken:
        yield Finding("systems", "ok", f"{', '.join(sorted(systems))} and their spaces load")


def strange_keys(system, spaces: Mapping[str, Any]) -> str:
    """What in a system's spaces it does not have, in words; empty when all is well."""
    if system is None:
        return "there is no system of that name"
    fields = {f"{stage.name}.{name}" for stage in system.stages for name in stage.config_type.model_fields}
    written = [space for space in spaces.values() if not callable(space)]  # the others are made from data
    strange = sorted({key for space in written for key in space} - fields)
    return f"no such field: {', '.join(strange)}" if strange else ""


def _broken(kind: str, name: str, where: str, why: str) -> Finding:
    fix = f"Mend `{where}`, or reinstall or remove the package that registers it."
    return Finding("systems", "problem", f"{kind} {name}: {why}", fix)


def check_tracking(home: Home, uri: str | None) -> Iterator[Finding]:
    """The tracker answers; the embedded one is not made for the asking."""
    target = uri or home.mlflow_uri
    if uri is None and not Path(home.mlflow_uri.removeprefix("sqlite:///")).exists():
        yield Finding("tracker", "ok", f"{target} will be made by the first sweep")
        return
    check_tracker(target)
    yield Finding("tracker", "ok", f"{target} answers")


def check_rendering(code: str = RENDER_PROBE) -> Iterator[Finding]:
    """Whether videos of episodes can be made; sweeps do without."""
    backend = os.environ.get("FLOWSWEEP_RENDER_BACKEND", "egl")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], env={**os.environ, "MUJOCO_GL": backend}, capture_output=True,
            text=True, timeout=RENDER_TIMEOUT_S, check=False,
        )  # fmt: skip
        why = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it crashed"])[-1][:200]
    except subprocess.TimeoutExpired:
        why = f"no frame within {RENDER_TIMEOUT_S:.0f} s"
    if why:
        yield Finding(
            "rendering", "info", f"no pictures of episodes with MUJOCO_GL={backend}: {why}",
            "Only videos and stills are missing. Install EGL (`libegl1`), or set FLOWSWEEP_RENDER_BACKEND=osmesa.",
        )  # fmt: skip
    else:
        yield Finding("rendering", "ok", f"frames can be rendered with MUJOCO_GL={backend}")


def check_ray(
    address: str | None = None, ask: Callable[[str | None], RayAnswer] = ask_ray
) -> Iterator[Finding]:
    """A task runs on an embedded Ray, or on the cluster at a Ray address."""
    name, answer = ("cluster" if address else "ray"), ask(address)
    if not answer.failure:
        where = f"the cluster at {address}" if address else "an embedded Ray"
        yield Finding(
            name, "ok", f"{where} ran a task: Ray {answer.ray}, {answer.cpus:g} CPUs, {answer.gpus:g} GPUs"
        )
        if answer.python != sys.version.split()[0]:
            what = f"its workers run Python {answer.python}, this is {sys.version.split()[0]}"
            yield Finding(
                name, "warning", what, "Use one Python version on all nodes, or `flowsweep submit`."
            )
    elif address:
        fix = "Is it up, and is this a Ray address (`auto` on a node, `ray://HOST:10001`) or its dashboard's (http)?"
        yield Finding(name, "problem", f"{address}: {answer.failure}", fix)
    else:
        fix = "Its logs are in the newest folder named /tmp/fs-ray-*; memory, /dev/shm and open ports are usual causes."
        yield Finding(name, "problem", answer.failure, fix)
