"""Clusters by name: what the file may say, what is told of its mistakes, and which cluster a command means."""

from __future__ import annotations

import pytest
from flowsweep.cluster.ordering import with_defaults
from flowsweep.cluster.profiles import Profile, profile_file, read_profiles, read_token
from flowsweep.cluster.target import target
from flowsweep.platform.errors import Refused, UserError

LAB = '[clusters.lab]\naddress = "http://127.0.0.1:8265"\n'


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """Writes the profile file of a user who has moved its folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def write(text: str):
        file = profile_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def test_the_file_lies_where_the_standard_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert profile_file() == tmp_path / ".config" / "flowsweep" / "clusters.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")
    assert str(profile_file()) == "/elsewhere/flowsweep/clusters.toml"


def test_without_a_file_there_are_no_clusters(profiles):
    assert read_profiles().clusters == {}
    with pytest.raises(UserError, match=r"lab.*Describe it in .*clusters\.toml"):
        target("lab")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{LAB}adress = "x"\n', r"line 3: clusters\.lab\.adress: unknown key.*Did you mean `address`"),
        ("[clusters.lab]\nhome = '/h'\n", r"line 1: clusters\.lab\.address: is required"),
        (f"{LAB}home = 'relative'\n", r"line 3: clusters\.lab\.home: must be an absolute path"),
        (
            f"{LAB}[clusters.lab.resources]\ncpu = 2\n",
            r"line 3: clusters\.lab\.resources.*cpu: unknown key.*`cpus`",
        ),
        (f"{LAB}env = {{HF_TOKEN = 'x'}}\n", r"line 3: clusters\.lab\.env.*HF_TOKEN holds a secret"),
        (f"{LAB}tracker = 'https://u:p@host'\n", r"line 3: clusters\.lab\.tracker.*holds a login"),
        (f"default = 'lob'\n{LAB}", r"line 1: default: no cluster of this name.*Did you mean `lab`"),
        (f"{LAB}address = 2", r"is not valid TOML"),
        (f"{LAB}home = 2026-13-45", r"is not valid TOML: .*line 3"),
        (f"{LAB}priority = {'9' * 5000}", r"is not valid TOML"),
        (f"{LAB}env = {'[' * 5000}", r"is not valid TOML"),
        ("#" * 300_000, r"longer than the 256 KiB"),
        (LAB.replace("lab", "'../lab'"), r"clusters: must be 1 to 80 letters"),
    ],
)
def test_a_mistake_is_told_with_its_line_key_and_rule(profiles, text, said):
    file = profiles(text)
    with pytest.raises(UserError, match=said) as raised:
        read_profiles()
    assert str(file) in str(raised.value)


def test_a_file_that_others_may_write_is_refused_since_it_says_where_the_token_goes(profiles):
    profiles(LAB).chmod(0o666)
    with pytest.raises(Refused, match="others may write"):
        read_profiles()


def test_a_token_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text(" abc\n")
    file.chmod(0o644)
    with pytest.raises(Refused, match="chmod 600"):
        read_token(str(file))
    file.chmod(0o640)
    assert read_token(str(file)) == "abc"
    with pytest.raises(UserError, match="No such file"):
        read_token(str(tmp_path / "none"))


def test_the_cluster_meant_is_the_one_named_closest_to_the_command(profiles, monkeypatch):
    other = '[clusters.other]\naddress = "http://127.0.0.1:2"\n'
    profiles(f'default = "lab"\n{LAB}{other}')
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:4")
    assert target().name == "lab"
    monkeypatch.setenv("FLOWSWEEP_ADDRESS", "http://127.0.0.1:3")
    assert (target().name, target().at.url) == (None, "http://127.0.0.1:3")
    monkeypatch.setenv("FLOWSWEEP_CLUSTER", "other")
    assert target().name == "other"
    assert target("lab").name == "lab"
    assert target(address="http://127.0.0.1:5").at.url == "http://127.0.0.1:5"
    with pytest.raises(UserError, match="not both"):
        target("lab", "http://127.0.0.1:5")


def test_a_profiles_token_wins_over_the_environments_and_never_goes_to_another_address(
    profiles, monkeypatch, tmp_path
):
    (tmp_path / "token").write_text("of-the-lab")
    (tmp_path / "token").chmod(0o600)
    profiles(f'{LAB}token_file = "{tmp_path / "token"}"\n')
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-another")
    assert target("lab").at.token == "of-the-lab"
    assert target(address="http://127.0.0.1:5").at.token == "of-another"


def test_a_profile_fills_in_what_the_sweep_file_leaves_open():
    profile = Profile(
        address="http://h:1",
        tracker="https://mlflow",
        stages="s3://bucket/p",
        resources={"cpus": 2, "gpus": 1},
    )
    merged = with_defaults({"resources": {"cpus": 4}, "tracking": {"experiment": "e"}}, profile)
    assert merged == {
        "resources": {"cpus": 4, "gpus": 1},
        "tracking": {"uri": "https://mlflow", "experiment": "e"},
        "storage": {"stages": "s3://bucket/p"},
    }
