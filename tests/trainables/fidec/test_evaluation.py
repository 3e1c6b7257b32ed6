import torch
from flowsweep.trainables.base import Lane
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM


def test_evaluating_scores_every_lane_repeatably_and_leaves_training_undisturbed(umaze_dataset, small):
    source = SYSTEM.open_source(umaze_dataset)
    lanes = [Lane(small("pretrain"), seed) for seed in (0, 1)]
    evaluated, undisturbed = (SYSTEM.stage("pretrain").start(lanes, source, "cpu") for _ in range(2))
    evaluated.advance(5)
    undisturbed.advance(5)
    scores = evaluated.evaluate([7, 7], 2)
    assert scores == evaluated.evaluate([7, 7], 2)
    assert len(scores) == 2
    for score in scores:
        assert score.metrics.keys() <= SYSTEM.stage("pretrain").metrics.keys()
        assert {"success_rate", "return", "episode_length"} <= score.metrics.keys()
    evaluated.advance(3)
    undisturbed.advance(3)
    states = evaluated.state().tensors, undisturbed.state().tensors
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    finished = SYSTEM.stage("pretrain").finished(lanes, undisturbed.outputs(), source, "cpu")
    assert finished.evaluate([7, 7], 2) == undisturbed.evaluate([7, 7], 2)


def test_a_joint_trial_scores_the_same_from_its_outputs_with_the_critics_choosing(umaze_dataset, small):
    stage, source = JOINT_SYSTEM.stage("joint"), JOINT_SYSTEM.open_source(umaze_dataset)
    lane = Lane(small("joint", test_policy="best_of_n", test_samples=3), 0)
    learner = stage.start([lane], source, "cpu")
    learner.advance(3)
    (score,) = learner.evaluate([7], 2)
    assert score.metrics.keys() <= stage.metrics.keys()
    assert stage.finished([lane], learner.outputs(), source, "cpu").evaluate([7], 2) == [score]
