"""What a cluster is to be is read strictly, and what its kind cannot do without is said with the way out."""

from __future__ import annotations

import pytest
import yaml
from flowsweep.cluster.launch.description import read_description
from flowsweep.cluster.launch.rendering import render
from flowsweep.platform.errors import UserError


def test_what_is_rendered_can_be_rendered_again_from_its_own_description(description, tmp_path):
    files = render(description)
    file = tmp_path / "cluster.yaml"
    file.write_text(files["cluster.yaml"].text)
    again = read_description(file, None, {})
    assert again == description
    assert render(again) == files


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("aws", ["image:", "machine:", "aws.image_id:"]),
        ("gcp", ["image:", "machine:", "gcp.project:", "gcp.disk_image:"]),
        ("onprem", ["onprem.head:", "onprem.workers:", "image or activate:"]),
        ("kuberay", ["image:", "kuberay.volume_claim:"]),
        ("slurm", ["activate:"]),
    ],
)
def test_everything_that_is_missing_is_said_at_once(kind, said):
    with pytest.raises(UserError) as caught:
        read_description(None, kind, {})
    assert all(key in str(caught.value) for key in said)


@pytest.mark.parametrize(
    ("which", "changes", "said"),
    [
        ("slurm", {"gpu": "1"}, "Did you mean `gpus`"),
        ("slurm", {"slurm.partitions": "x"}, "unknown key"),
        ("slurm", {"nodes.min": "5"}, "more than nodes.max"),
        ("slurm", {"name": "Big Lab"}, "name"),
        ("slurm", {"slurm.partition": "'gpu; rm -rf x'"}, "slurm.partition"),
        ("slurm", {"activate": '"a\\nb"'}, "single lines"),
        ("slurm", {"image": "x:1"}, "not used with slurm"),
        ("aws", {"home": "/shared/$(x)"}, "home"),
        ("aws", {"storage": "ftp://x"}, "must be s3://"),
        ("aws", {"storage": "s3://bucket/x"}, "aws.instance_profile"),
        ("gcp", {"storage": "gs://bucket/x"}, "gcp.service_account"),
        ("aws", {"tracker_uri": "http://admin:hushhush@h"}, "without a login"),
        ("onprem", {"spot": "true"}, "not something your own machines have"),
        ("onprem", {"onprem.workers": "[10.0.0.2, 10.0.0.2]"}, "names a node twice"),
        ("kuberay", {"spot": "true"}, "your provider's own words"),
    ],
)
def test_what_cannot_be_is_refused(wishes, which, changes, said):
    kind, before = wishes[which]
    with pytest.raises(UserError, match=said.replace("$", r"\$")):
        read_description(None, kind, {**before, **changes})


def test_flags_win_over_the_file(wishes, tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump({"kind": "slurm", "activate": "source a", "gpus": 1}))
    assert read_description(file, None, {"gpus": "4"}).gpus == 4
    assert read_description(file, None, {}).gpus == 1
