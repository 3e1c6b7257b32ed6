import sysconfig

import pytest
from flowsweep.trainables.acceleration import check_acceleration
from flowsweep.trainables.errors import UserError


def test_compiling_without_a_compiler_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"resources\.acceleration.*no-such-compiler.*eager"):
        check_acceleration("compile")
    check_acceleration("eager")


def test_compiling_without_the_header_files_of_python_is_refused_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "sh")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(UserError, match=r"Python\.h does not exist.*python3-dev"):
        check_acceleration("compile")
