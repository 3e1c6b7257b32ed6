"""Packages that are missing, too old, or known to be open to attack."""

from __future__ import annotations

from flowsweep.platform.doctor import packages
from flowsweep.platform.doctor.findings import Finding
from flowsweep.platform.doctor.packages import judge_requirement, requirements, vulnerabilities
from packaging.requirements import Requirement


def levels(findings) -> list[str]:
    return [finding.level for finding in findings]


def test_every_requirement_is_looked_at_with_those_of_its_extras():
    names = {requirement.name for requirement in requirements()}
    assert {"ray", "torch", "mlflow", "optuna"} <= names
    assert {"tensorboardX", "h5py"} <= names  # ray[tune], minari[hdf5]
    assert not names & {"pytest", "pyright"}  # flowsweep[dev]


def test_a_missing_or_too_old_package_is_a_problem_with_the_command_that_mends_it():
    missing = judge_requirement(Requirement("no-such-package>=2"))
    assert missing == Finding(
        "packages", "problem", "no-such-package>=2 is missing", "`pip install 'no-such-package>=2'`"
    )
    old = judge_requirement(Requirement("numpy>=99"))
    assert old is not None
    assert "numpy" in old.what
    assert ">=99 is asked for" in old.what
    assert judge_requirement(Requirement("numpy>=1")) is None


def test_an_old_python_is_a_problem():
    assert levels(packages.check_python("3.10.4")) == ["problem"]
    assert levels(packages.check_python("3.13.0")) == ["ok"]


def test_versions_with_published_vulnerabilities_are_problems():
    def named(package, found):
        return [finding.what.split(" has ")[-1].split(":")[0] for finding in vulnerabilities(package, found)]

    assert named("ray", "2.54.0") == []
    assert named("ray", "2.53.0") == ["CVE-2026-27482"]
    assert len(named("ray", "2.51.1")) == 2  # nor can it ask for a token
    assert named("mlflow", "3.9.0") == ["CVE-2026-2614", "CVE-2026-4137", "CVE-2026-8147"]
    assert named("mlflow", "3.13.0") == []
    assert levels(vulnerabilities("mlflow", "3.10.0")) == ["problem", "problem"]


def test_what_this_project_asks_for_is_here_and_nothing_known_is_open():
    assert levels(packages.check_packages()) == ["ok"]
    assert levels(packages.check_advisories()) == ["ok"]
