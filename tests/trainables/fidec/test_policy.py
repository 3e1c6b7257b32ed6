"""What the critics choose at test time: the batched policies against a loop over lanes, rows and candidates."""

import pytest
import torch
from flowsweep.trainables.base import Lane
from flowsweep.trainables.critics import critic_values
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.fidec.fisher import Fisher
from flowsweep.trainables.fidec.sampling import draw
from flowsweep.trainables.streams import Streams

ROWS, SAMPLES, ITERATIONS = 6, 5, 3


@pytest.fixture
def trained(start, small):
    """Two lanes refined briefly with critics that tell actions apart, acting in a given way."""

    def trained(pools: dict, **changes):
        config = small("refine", critic_learning_rate=1e-2, zero_init=False, **changes)
        learner = start("refine", [(config, 0), (config, 1)], pools=small("pools", **pools))
        learner.advance(5)
        return learner

    return trained


def lane_policy(learner, lane: int):
    """One lane's policy, rebuilt alone."""
    one = Lane(learner.lanes[lane].config, learner.seeds[lane])
    return SYSTEM.stage("refine").finished([one], [learner.outputs()[lane]], learner.source, "cpu").policy()


def candidates_of(policy, state, noise):
    """Base actions of one state one by one, and the Fisher matrix that goes with each."""
    if not policy.policy.project:
        return [(policy.flow.sample(state, z[None, None]).clamp(-1, 1), Fisher()) for z in noise]
    parts = (noise[:, :2], noise[:, 2:4], torch.special.ndtr(noise[:, 4:]))
    samples, fisher = draw(policy.flow, state, tuple(part[None, None] for part in parts), policy.fisher)
    local = policy.fisher.scope == "local"
    return [
        (samples[:, :, i].clamp(-1, 1), Fisher(scores=fisher.scores[:, :, i : i + 1]) if local else fisher)
        for i in range(len(noise))
    ]


def act_one_by_one(policy, observation, noise):
    """What the policy should do in one state, in plain steps."""
    guidance, state = policy.guidance, policy.flow.normalized(observation[None, None])
    value = lambda action: critic_values(guidance.network, guidance.critics, state, action).mean().item()  # noqa: E731
    refine = lambda action, fisher: policy.policy.refine(policy.residual, state, action, fisher)  # noqa: E731
    candidates = candidates_of(policy, state, noise)
    if guidance.kind == "best_of_n":
        action, fisher = max(candidates[:SAMPLES], key=lambda candidate: value(candidate[0]))
        return refine(action, fisher)
    action, fisher = candidates[0]
    met = [action]
    for _ in range(ITERATIONS):
        met.append(refine(met[-1], fisher))
    return max(met, key=value)


@pytest.mark.parametrize("kind", ["best_of_n", "iterated"])
@pytest.mark.parametrize(
    ("constraint", "pools"),
    [
        ("lagrange", {}),
        ("per_state_projection", {}),
        ("per_state_projection", {"fisher_scope": "local"}),
        ("per_state_projection", {"fisher_samples": 7}),
    ],
)
def test_a_batch_acts_as_its_rows_do_one_by_one(kind, constraint, pools, trained):
    learner = trained(
        pools, constraint=constraint, test_policy=kind, test_samples=SAMPLES, test_iterations=ITERATIONS
    )
    policy, observations = learner.policy(), torch.randn(2, ROWS, 3)
    actions = policy.act(observations, Streams([1, 2], "act").generators)
    count = SAMPLES if kind == "best_of_n" else 1
    size = (ROWS, count, 2)
    if constraint == "per_state_projection":
        size = (ROWS, max(count, policy.fisher.samples), 5)
    noise = [torch.randn(size, generator=g) for g in Streams([1, 2], "act").generators]
    for lane in range(2):
        alone = lane_policy(learner, lane)
        for row in range(ROWS):
            expected = act_one_by_one(alone, observations[lane, row], noise[lane][row])
            torch.testing.assert_close(actions[lane, row], expected[0, 0], rtol=1e-5, atol=1e-6)


def test_the_choice_is_made_row_by_row(trained):
    guidance = trained({}, test_policy="best_of_n").policy().guidance
    states, candidates = torch.randn(2, 50, 3), torch.rand(2, 50, 4, 2) * 2 - 1
    chosen = guidance.best(states, candidates)
    assert chosen.unique().numel() > 1
    reversed_choice = guidance.best(states, candidates.flip(2))
    assert torch.equal(reversed_choice, 3 - chosen)


def test_one_candidate_is_the_plain_policy(trained):
    observations = torch.randn(2, ROWS, 3)
    plain, one = (
        trained({}, **changes).policy().act(observations, Streams([1, 2], "act").generators)
        for changes in ({}, {"test_policy": "best_of_n", "test_samples": 1})
    )
    assert torch.equal(plain, one)
