"""Whether a tracker can be used is known before anything is launched."""

from __future__ import annotations

import pytest
from flowsweep.platform.errors import Unreachable, UserError
from flowsweep.platform.tracking.check import check_tracker, checked_uri


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "./mlruns", "sqlite:///mlflow.db", "ftp://x", "http://"]
)
def test_an_unfit_address_is_refused_with_the_way_out(uri):
    with pytest.raises(UserError, match=r"tracking\.uri: .*(Write|Leave)"):
        checked_uri(uri)


def test_a_database_that_is_none_is_found_before_launch(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is not a database, it only has the name of one")
    with pytest.raises(Unreachable, match="not a database"):
        check_tracker(f"sqlite:///{tmp_path}/mlflow.db")
