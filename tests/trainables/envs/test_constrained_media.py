"""Videos of constrained episodes: the cost of every step is seen, and the replay is the very episode."""

import json

import numpy as np
import pytest
import torch
from flowsweep.trainables.envs.constrained_media import BAND, frames_of, record, with_costs
from flowsweep.trainables.envs.constrained_names import environments
from flowsweep.trainables.envs.constrained_rollout import play
from safetensors.numpy import load_file


class Rightwards:
    """Straight to the goal, through the disc."""

    def act(self, observations, generators):
        return torch.tensor([1.0, 0.0]).expand(*observations.shape[:2], 2)


@pytest.fixture
def trace(tmp_path):
    definition = environments()["detour-v0"]
    (episode,) = play(Rightwards(), definition, [5], 1, cost_discount=[0.99], record=True)
    return episode, record(definition, 5, episode, tmp_path)


def test_an_episode_becomes_a_trace_a_video_and_stills(trace):
    episode, files = trace
    assert [file.suffix for file in files] == [".safetensors", ".mp4", ".png"]
    assert all(file.stat().st_size > 500 for file in files)
    stored = load_file(files[0])
    assert stored["costs"].sum() == episode.cost > 3
    assert stored["rewards"].sum() == pytest.approx(episode.total_reward)


def test_frames_show_costs_where_they_were_and_none_before(trace):
    episode, files = trace
    frames = frames_of(files[0])
    bar = frames[-1][BAND + 240 + 3]
    width = bar.shape[0]
    for step, cost in enumerate(episode.costs):
        red, green, _ = bar[width * step // len(episode.costs) + 1].astype(int)
        assert (red - green > 100) == (cost > 0), step
    assert (frames[0][BAND + 240 + 3, width // 2 :] == 255).all(), "what has not happened is blank"


def test_a_replay_that_leaves_the_path_shows_nothing(trace, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    _, files = trace
    with safe_open(str(files[0]), framework="numpy") as file:
        about = file.metadata()
    tensors = load_file(files[0])
    tensors["actions"] = -tensors["actions"]
    save_file(tensors, tmp_path / "other.safetensors", about)
    with pytest.raises(RuntimeError, match="left the recorded path"):
        frames_of(tmp_path / "other.safetensors")


def test_a_caption_says_what_has_been_earned_and_spent():
    blank = np.full((40, 120, 3), 255, np.uint8)
    frame = with_costs(blank, [1.0, 2.0], [0.0, 3.0], 4)
    assert frame.shape == (40 + BAND + 8, 120, 3)
    assert (frame[:BAND] < 128).any()
    assert json.dumps(frame[BAND : BAND + 40].min().item()) == "255"
