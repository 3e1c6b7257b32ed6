"""The rule of what goes and what stays on a real home, with real stores, journals and checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import torch
from flowsweep.platform.paths import Home
from flowsweep.platform.store.collect import DAY_S, Decision, Limits, decide
from flowsweep.platform.store.collect_disk import SHARED_GRACE_S, carry_out, limits_for, survey
from flowsweep.platform.store.stages import StageClaim, StageStore
from flowsweep.trainables.artifacts import Provenance
from flowsweep.trainables.base import Snapshot, identity_key
from flowsweep.trainables.checkpoints import Checkpoints

EVERYTHING = Limits(budget_bytes=0)


def decided(home: Home, limits: Limits = EVERYTHING) -> dict[str, Decision]:
    return {decision.item.name: decision for decision in decide(survey(home), limits)}


def dropped(decisions: dict[str, Decision]) -> set[str]:
    return {name for name, decision in decisions.items() if decision.action == "drop"}


def backdate(path: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    for file in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(file, (then, then))


def publish(home: Home, idle_d: float, upstream: dict[str, str] | None = None, **identity) -> str:
    """Store an output that nobody's journal names."""
    about = {"stage": "pools", "seed": 0, "upstream": upstream or {}, **identity}
    claim = StageStore(home.stages).acquire(identity_key(about), "t0")
    assert isinstance(claim, StageClaim)
    with claim:
        claim.publish(Snapshot({"w": torch.zeros(100)}, {}), Provenance(about, cpu_s=3.0, steps=5))
    backdate(StageStore(home.stages).path(claim.key), idle_d)
    return claim.key


def keys(home: Home) -> set[str]:
    return {artifact.key for artifact in StageStore(home.stages).list()}


def files(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()
    }


def test_a_dry_run_touches_nothing_and_says_what_would_go(walked, run):
    home = walked("done", "t0")
    key = publish(home, 40)
    before = files(home.root)
    code, said, _ = run("gc", "--budget", "0B")
    assert code == 0
    assert key[:12] in said
    assert "Nothing was touched; delete with --yes" in said
    assert {name: at for name, at in files(home.root).items() if "claims/" not in name} == {
        name: at for name, at in before.items() if "claims/" not in name
    }


def test_only_outputs_that_no_unfinished_sweep_uses_are_deleted(walked, run):
    walked("done", "t0")
    walked("stopped", "t0", width=2.0, status="interrupted")
    home = walked("dead", "t0", width=3.0, ended=None, status=None)
    for path in (home.stages / "v1").glob("??/*"):
        backdate(path, 40)
    alive = {
        use
        for use in keys(home)
        if use in (home.sweep("stopped").journal.read_text() + home.sweep("dead").journal.read_text())
    }
    assert len(alive) == 2
    code, said, _ = run("gc", "--budget", "0B", "--yes")
    assert (code, keys(home)) == (0, alive)
    assert "needed by stopped (interrupted)" in said
    assert "over the budget" in said


def test_what_a_kept_output_was_computed_from_is_kept(walked, run):
    home = walked("done", "t0")
    flow = publish(home, 90, stage="flow")
    pools = publish(home, 2, {"flow": flow})
    free = publish(home, 50, stage="free")
    assert run("gc", "--older-than", "30d", "--yes")[0] == 0
    assert keys(home) >= {flow, pools}
    assert free not in keys(home)
    assert run("gc", "--budget", "0B", "--yes")[0] == 0
    assert not keys(home) & {flow, pools}


def test_an_output_with_a_held_claim_is_kept(walked):
    home = walked("done", "t0")
    key = publish(home, 40)
    store = StageStore(home.stages)
    path, place = store.path(key), store.root / "away"
    path.rename(place)
    claim = store.acquire(key, "t7")
    assert isinstance(claim, StageClaim)
    with claim:
        place.rename(path)  # As when another has published meanwhile and the late holder still works.
        assert decided(home)[key].reason.startswith("claimed by t7 on ")
    assert key in dropped(decided(home))


def test_an_output_used_between_the_look_and_the_deletion_is_kept(walked):
    home = walked("done", "t0")
    key, other = publish(home, 40), publish(home, 40, stage="other")
    decisions = decided(home)
    assert {key, other} <= dropped(decisions)
    StageStore(home.stages).acquire(key, "t9")
    done = carry_out(list(decisions.values()), home, EVERYTHING, lambda collected: None)
    assert {c.decision.item.name: c.problem for c in done}[key] == "somebody has used it since"
    assert key in keys(home)
    assert other not in keys(home)


def test_all_but_the_last_checkpoint_of_a_trial_that_is_over_go_and_its_results_stay(walked, run):
    walked("done", "t0")
    home = walked("open", "t0", ended=None, status=None)
    done, going_on = (home.sweep(name).trials / "t0" for name in ("done", "open"))
    assert [path.name for path in sorted((done / "tune").iterdir())] == ["step-0000000030", "step-0000000040"]
    before = set(files(done))
    assert run("gc", "--yes")[0] == 0
    assert before - set(files(done)) == {name for name in before if "step-0000000030" in name}
    assert {"request.json", "policy-seed-0/tensors.safetensors"} <= set(files(done))
    assert len(list((going_on / "tune").iterdir())) == 2
    assert Checkpoints(done / "tune").latest() is not None


def test_a_checkpoint_is_kept_when_the_last_one_is_damaged(walked, run):
    home = walked("done", "t0")
    folder = home.sweep("done").trials / "t0" / "tune"
    (folder / "step-0000000040" / "tensors.safetensors").write_bytes(b"gone bad")
    code, said, _ = run("gc", "--yes")
    assert code == 1
    assert "the last one, step-0000000040, is damaged" in said
    snapshot = Checkpoints(folder).latest()
    assert snapshot is not None
    assert snapshot.meta["learner"] == {"step": 30}


def test_leftovers_of_killed_processes_go_once_they_are_a_day_old(walked, run):
    home = walked("done", "t0")
    trial, hexes = home.sweep("done").trials / "t0", "0123456789abcdef" * 2
    places = [
        home.stages / "aside" / hexes,
        home.stages / "quarantine" / f"{'a' * 64}.12345678",
        trial / "tune" / f".step-0000000010.{hexes}.aside",
        trial / f".policy-seed-0.{hexes}.aside.old",
        home.sweep("done").root / "rerun-abc123",
        home.sweep("done").ray,
    ]
    for place in places:
        place.mkdir(parents=True)
        (place / "tensors.safetensors").write_bytes(b"x" * 1000)
    text = home.sweep("done").root / f".sweep.yaml.{hexes}.aside"
    text.write_text("half")
    kept = trial / ".notes.aside"
    kept.write_text("a person's own file")
    run("gc", "--yes")
    assert all(place.exists() for place in [*places, text])
    for place in [*places, text, kept]:
        backdate(place, 1.1)
    assert run("gc", "--yes")[0] == 0
    assert not [str(place) for place in [*places, text] if place.exists()]
    assert kept.exists()


def test_in_a_store_shared_with_other_homes_a_month_must_pass(tmp_path: Path):
    home = Home(tmp_path / "home")
    (tmp_path / "team").mkdir()
    home.root.mkdir()
    home.stages.symlink_to(tmp_path / "team")
    young, old = publish(home, 29), publish(home, 31, stage="old")
    assert limits_for(home, 0, None).grace_s == SHARED_GRACE_S
    decisions = decided(home, limits_for(home, 0, None))
    assert dropped(decisions) == {old}
    assert "within 30 d" in decisions[young].reason
    assert dropped(decided(home, limits_for(home, 0, DAY_S))) == {old, young}


def test_what_cannot_be_deleted_is_said_and_the_rest_goes(walked, run, monkeypatch):
    home = walked("done", "t0")
    stuck, free = publish(home, 40, stage="stuck"), publish(home, 30, stage="free")
    remove = StageStore.remove

    def refuse(self, key):
        if key == stuck:
            raise PermissionError(13, "Permission denied")
        return remove(self, key)

    monkeypatch.setattr(StageStore, "remove", refuse)
    code, said, _ = run("gc", "--budget", "0B", "--yes")
    assert code == 1
    assert "Permission denied" in said
    assert stuck in keys(home)
    assert free not in keys(home)


def test_a_script_reads_every_decision_with_its_reason(walked, run):
    home = walked("done", "t0")
    key = publish(home, 40)
    told = json.loads(run("gc", "--older-than", "30d", "--json")[1])
    assert (told["dry_run"], told["freed_bytes"]) == (True, 0)
    (going,) = [d for d in told["decisions"] if d["action"] == "drop" and d["item"]["kind"] == "artifact"]
    assert (going["item"]["name"], going["reason"]) == (key, "nobody needs it; last used 40 d ago")
    done = json.loads(run("gc", "--older-than", "30d", "--json", "--yes")[1])
    assert done["freed_bytes"] == told["to_free_bytes"] > 0
    assert json.loads(run("gc", "--older-than", "30d", "--json")[1])["to_free_bytes"] == 0
    assert key not in keys(home)


def test_a_bad_limit_ends_with_the_rule_and_exit_code_2(run, tmp_path: Path):
    code, _, err = run("gc", "--budget", "20")
    assert code == 2
    assert err.startswith("Error: --budget: must be a size with a unit: B, KiB, MiB, GiB or TiB (got '20').")
    assert run("gc", "--older-than", "soon")[0] == 2
    assert run("gc")[:2] == (0, "Nothing to free; 0 B stay.\n")
    assert not (tmp_path / "home").exists()


def test_a_collected_sweep_is_still_reused_after_computing_again(walked, run):
    home = walked("done", "t0")
    (key,) = keys(home)
    backdate(StageStore(home.stages).path(key), 2)
    assert run("gc", "--budget", "0B", "--yes")[0] == 0
    assert keys(home) == set()
    shutil.rmtree(home.sweep("done").root)
    walked("done", "t0")
    assert keys(home) == {key}
