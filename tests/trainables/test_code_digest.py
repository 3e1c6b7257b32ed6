"""A digest of what computes: it changes with the code and not with its comments."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from flowsweep.trainables.base import load_system
from flowsweep.trainables.code_digest import code_differences, system_code

STAGE = (
    '"""Doc."""\nfrom .maths import half\n\nclass Stage:\n    """Doc."""\n    name, version = "learn", 1\n'
)
MATHS = "def half(x):\n    return x / 2\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch):
    """A package of two modules and a system of one stage, and a way to write them anew."""
    folder = tmp_path / "some_learner"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "unrelated.py").write_text("x = 1\n")

    def write(stage=STAGE, maths=MATHS):
        (folder / "stage.py").write_text(stage)
        (folder / "maths.py").write_text(maths)
        return system_code(system)

    (folder / "stage.py").write_text(STAGE)
    (folder / "maths.py").write_text(MATHS)
    monkeypatch.syspath_prepend(str(tmp_path))
    from some_learner.stage import Stage  # type: ignore[import-not-found]

    system = SimpleNamespace(code=None, stages=(Stage(),))
    yield write
    for name in [name for name in sys.modules if name.startswith("some_learner")]:
        del sys.modules[name]


def test_comments_docstrings_and_layout_do_not_count(package):
    before = package()
    assert (
        package(stage="# why\n" + STAGE.replace("Doc.", "Other."), maths=MATHS.replace("x / 2", "(x  /  2)"))
        == before
    )


def test_a_change_in_an_imported_module_is_named(package):
    before, after = package(), package(maths=MATHS.replace("2", "3"))
    assert code_differences(before, after) == ["code of some_learner.maths"]
    assert set(after["modules"]) == {"some_learner.stage", "some_learner.maths"}


def test_the_modules_of_a_real_system_are_found_where_they_are_loaded_late():
    modules = system_code(load_system("fidec"))["modules"]
    assert "flowsweep.trainables.fidec.refine" in modules
    assert "flowsweep.trainables.nets" in modules
    assert not any(name.startswith("flowsweep.platform") for name in modules)
