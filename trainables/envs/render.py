"""Frames of a recorded episode, made in a process of its own.

MuJoCo chooses its OpenGL backend once, at import, and training processes choose none. So rendering replays a
trace in a fresh process: ``python -m flowsweep.trainables.envs.render TRACE FOLDER``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .build import EpisodeEnvironment, EpisodeSeeds
from .trace import Trace

FRAME_STRIDE = 4
MOST_FRAMES = 100
STILLS = 5
FRAMES_PER_S = 12
TIMEOUT_S = 300


@dataclass(frozen=True)
class Media:
    """Files showing an episode; ``missing`` says why some could not be made."""

    paths: tuple[Path, ...]
    missing: str | None = None


def render_trace(trace_path: Path, folder: Path) -> Media:
    """Replay a trace in a fresh process and write ``<name>.mp4`` and ``<name>.png`` (a strip of stills).

    Where nothing can be rendered (no OpenGL on the machine), the reason is returned instead of raised.
    """
    backend = os.environ.get("FLOWSWEEP_RENDER_BACKEND", "egl")
    try:
        run = subprocess.run(
            [sys.executable, "-P", "-m", "flowsweep.trainables.envs.render", str(trace_path), str(folder)],
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return Media((), f"rendering took longer than {TIMEOUT_S} s")
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
        return Media((), f"rendering with MUJOCO_GL={backend} failed: {lines[-1]}")
    return Media(tuple(Path(name) for name in json.loads(run.stdout.strip().splitlines()[-1])))


def frames_of(trace: Trace) -> list[np.ndarray]:
    """Play the trace's actions again and look at every few environment steps.

    Raises:
        RuntimeError: the replay left the recorded path, so the frames would show another episode.
    """
    stride = max(FRAME_STRIDE, math.ceil(len(trace.actions) / (MOST_FRAMES - 1)))
    environment = EpisodeEnvironment(trace.spec, render=True)
    observation = environment.reset(EpisodeSeeds.of(trace.seed, trace.number))
    frames = [environment.raw.render()]
    for index, action in enumerate(trace.actions, start=1):
        observation, *_ = environment.step(action)
        if index % stride == 0 or index == len(trace.actions):
            frames.append(environment.raw.render())
    environment.close()
    if not np.allclose(observation, trace.observations[-1], atol=1e-4):
        raise RuntimeError("the replay left the recorded path")
    return [np.asarray(frame) for frame in frames]


def write_media(frames: list[np.ndarray], video: Path, strip: Path) -> None:
    """Write a short video and a strip of evenly spaced stills."""
    import imageio.v2 as imageio

    with imageio.get_writer(video, fps=FRAMES_PER_S, macro_block_size=8) as writer:
        for frame in frames:
            writer.append_data(frame)  # type: ignore[attr-defined]
    chosen = [
        frames[i] for i in np.linspace(0, len(frames) - 1, min(STILLS, len(frames))).round().astype(int)
    ]
    gap = np.full((chosen[0].shape[0], 6, 3), 255, np.uint8)
    row = [part for frame in chosen for part in (frame, gap)][:-1]
    imageio.imwrite(strip, np.concatenate(row, axis=1))


def main(arguments: list[str]) -> None:
    """Entry of the rendering process: TRACE FOLDER."""
    source, folder = Path(arguments[0]), Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    video, strip = folder / f"{source.stem}.mp4", folder / f"{source.stem}.png"
    write_media(frames_of(Trace.load(source)), video, strip)
    print(json.dumps([str(video), str(strip)]))


if __name__ == "__main__":
    main(sys.argv[1:])
