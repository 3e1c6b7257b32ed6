"""Showing an episode of a constrained environment: a video and stills in which the cost of every step is seen.

Below each frame a bar runs with time: red where a step cost something. Above it stand what has been earned and spent
so far. Frames are made in a process of their own, as in :mod:`.render`:
``python -m flowsweep.trainables.envs.constrained_media TRACE FOLDER``.

Legend: T environment steps, A action size.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from .build import EpisodeSeeds
from .constrained import ConstrainedEnvironment
from .constrained_names import open_environment
from .constrained_rollout import ConstrainedEpisode
from .render import MOST_FRAMES, TIMEOUT_S, write_media

BAND, BAR = 28, 8
"""Heights in pixels of the caption and of the bar of costs."""


def record(
    definition, seed: int, episode: ConstrainedEpisode, folder: Path, name: str = "episode"
) -> list[Path]:
    """Keep an episode's trace and show it: ``<name>.safetensors``, ``.mp4`` and ``.png``.

    What the machine cannot render is left out, with a logged warning.

    Args:
        definition: the environment.
        seed: of the episode's lane.
        episode: recorded.
        folder: where the files go.
        name: of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trace = folder / f"{name}.safetensors"
    about = {"environment": definition.name, "seed": seed, "number": episode.number}
    tensors = {
        "actions": np.stack(episode.actions).astype(np.float32),
        "rewards": np.array(episode.rewards),
        "costs": np.array(episode.costs),
        "last_observation": episode.last_observation,
    }
    save_file(tensors, trace, {"about": json.dumps(about)})
    rendered, missing = _rendered(trace, folder)
    if missing:
        logging.getLogger(__name__).warning("no video or stills of %s: %s", name, missing)
    return [trace, *rendered]


def _rendered(trace: Path, folder: Path) -> tuple[list[Path], str | None]:
    backend = os.environ.get("FLOWSWEEP_RENDER_BACKEND", "egl")
    command = [sys.executable, "-m", "flowsweep.trainables.envs.constrained_media", str(trace), str(folder)]
    try:
        run = subprocess.run(
            command,
            env={**os.environ, "MUJOCO_GL": backend},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return [], f"rendering took longer than {TIMEOUT_S} s"
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
        return [], f"rendering with MUJOCO_GL={backend} failed: {lines[-1]}"
    return [Path(name) for name in json.loads(run.stdout.strip().splitlines()[-1])], None


def frames_of(trace: Path) -> list[np.ndarray]:
    """Play the trace's actions again and look at every few environment steps, costs drawn in.

    Raises:
        RuntimeError: the replay left the recorded path, so the frames would show another episode.
    """
    with safe_open(str(trace), framework="numpy") as file:
        about = json.loads(file.metadata()["about"])
        actions, rewards, costs, last = (
            file.get_tensor(name) for name in ("actions", "rewards", "costs", "last_observation")
        )
    environment = ConstrainedEnvironment(open_environment(about["environment"]).definition, render=True)
    environment.reset(EpisodeSeeds.of(about["seed"], about["number"]).environment)
    stride = max(1, math.ceil(len(actions) / (MOST_FRAMES - 1)))
    frames, observation = [], last
    for index, action in enumerate(actions, start=1):
        observation = environment.step(action).observation
        if index % stride == 0 or index == len(actions):
            frame = np.asarray(environment.raw.render())
            frames.append(with_costs(frame, rewards[:index], costs[:index], len(costs)))
    environment.close()
    if not np.allclose(observation, last, atol=1e-4):
        raise RuntimeError("the replay left the recorded path")
    return frames


def with_costs(frame: np.ndarray, rewards: Sequence[float], costs: Sequence[float], steps: int) -> np.ndarray:
    """A frame with a caption above and the bar of costs below it.

    Args:
        frame: [height, width, 3] uint8.
        rewards, costs: of the steps so far.
        steps: T, the bar's length.
    """
    from PIL import Image, ImageDraw

    height, width = frame.shape[:2]
    image = Image.new("RGB", (width, height + BAND + BAR), "white")
    image.paste(Image.fromarray(frame), (0, BAND))
    draw = ImageDraw.Draw(image)
    spent = float(np.sum(costs))
    caption = f"return {float(np.sum(rewards)):.1f}   cost {spent:.4g}"
    draw.text((6, 8), caption, fill="#b3261e" if len(costs) and costs[-1] > 0 else "black")
    most = max(float(np.max(costs)), 1e-9) if len(costs) else 1.0
    for index, cost in enumerate(costs):
        left, right = (width * index // steps, max(width * (index + 1) // steps - 1, width * index // steps))
        shade = round(225 - 175 * float(cost) / most)
        colour = (225, shade, shade) if cost > 0 else (205, 214, 226)
        draw.rectangle([left, height + BAND, right, height + BAND + BAR - 1], fill=colour)
    return np.asarray(image)


def main(arguments: list[str]) -> None:
    """Entry of the rendering process: TRACE FOLDER."""
    source, folder = Path(arguments[0]), Path(arguments[1])
    video, strip = folder / f"{source.stem}.mp4", folder / f"{source.stem}.png"
    write_media(frames_of(source), video, strip)
    print(json.dumps([str(video), str(strip)]))


if __name__ == "__main__":
    main(sys.argv[1:])
