"""Whether a tracker can be used is known before anything is launched."""

from __future__ import annotations

import pytest
from flowsweep.platform.errors import Unreachable, UserError
from flowsweep.platform.tracking.check import check_tracker, checked_uri


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "mlruns",
            "file:///tmp/mlruns",
            "./mlruns",
            "sqlite:///mlflow.db",
            "ftp://x",
            "http://",
            "http:///x",
        ),
        *(
            "databricks",
            "databricks://lab",
            "uc:lab",
            "http://h:99999",
            "http://h:0",
            "http://a b",
            "http://[::1",
        ),
    ],
)
def test_an_unfit_address_is_refused_with_the_way_out(uri):
    with pytest.raises(UserError, match=r"tracking\.uri: .*(Write|Leave)"):
        checked_uri(uri)


def test_addresses_are_taken_for_what_they_are():
    assert checked_uri("HTTP://Host:5000/") == "http://Host:5000"
    assert checked_uri("SQLite:////a/m.db") == "sqlite:////a/m.db"
    with pytest.raises(UserError, match="Databricks workspace"):
        checked_uri("databricks")
    with pytest.raises(UserError, match="only a tracking server may write to"):
        checked_uri("postgresql+psycopg://db/mlflow")


def test_looking_at_a_database_writes_nothing(tmp_path):
    check_tracker(f"sqlite:///{tmp_path}/new/deep/mlflow.db")
    (tmp_path / "file").touch()
    for unfit in ("file/mlflow.db", ""):
        with pytest.raises(Unreachable):
            check_tracker(f"sqlite:///{tmp_path}/{unfit}")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file"]


def test_a_database_that_is_none_is_found_before_launch(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is not a database, it only has the name of one")
    with pytest.raises(Unreachable, match="not a database"):
        check_tracker(f"sqlite:///{tmp_path}/mlflow.db")
