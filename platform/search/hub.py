"""Samplers from OptunaHub, or from a folder laid out like it. Their code runs here, with the user's rights."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from optuna.samplers import BaseSampler

from ..errors import Unreachable, UserError, nearest
from ..sweep.search_spec import HubSampler

KEY = "search.sampler.hub"


def hub_sampler(wanted: HubSampler) -> type[BaseSampler]:
    """The sampler class a sweep file asks for.

    Raises:
        UserError: optunahub is not installed, or the package is not there or holds no such sampler.
        Unreachable: the registry does not answer.
    """
    module = _load(wanted.hub, wanted.ref, wanted.folder)
    found = {
        name: value
        for name in getattr(module, "__all__", dir(module))
        if isinstance(value := getattr(module, name), type)
        and issubclass(value, BaseSampler)
        and value is not BaseSampler
    }
    if wanted.name is not None:
        if wanted.name not in found:
            raise UserError(
                f"`{wanted.hub}` holds no such sampler", key="search.sampler.name", value=wanted.name,
                fix=nearest(wanted.name, found),
            )  # fmt: skip
        return found[wanted.name]
    own = {name: value for name, value in found.items() if value.__module__.startswith(module.__name__)}
    if len(own) != 1:
        raise UserError(
            f"holds {len(own)} samplers", key=KEY, value=wanted.hub,
            fix=f"Say which one: search.sampler.name ({', '.join(own) or 'none found'}).",
        )  # fmt: skip
    return next(iter(own.values()))


@cache
def _load(package: str, ref: str, folder: str | None) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hub = import_module("optunahub")
    except ImportError as error:
        raise UserError(
            f"needs the package optunahub, which cannot be imported ({error})",
            key=KEY,
            value=package,
            fix="pip install 'flowsweep[hub]'",
        ) from None
    place = Path(folder).expanduser().absolute() if folder is not None else None
    if place and not (place / package / "__init__.py").is_file():
        raise UserError(
            f"there is no package at {place / package}",
            key=KEY,
            value=package,
            fix="search.sampler.folder names the folder above it: FOLDER/samplers/NAME/__init__.py.",
        )
    try:
        if place:
            return hub.load_local_module(package, registry_root=str(place))
        return hub.load_module(package, ref=ref)
    except ImportError as error:
        raise UserError(
            f"the package needs something that is not installed: {error}",
            key=KEY,
            value=package,
            fix="Install what the package's page on https://hub.optuna.org names.",
        ) from None
    except Exception as error:
        said = str(error).strip().splitlines()
        raise Unreachable(
            f"the package cannot be loaded: {said[-1].strip() if said else type(error).__name__}",
            key=KEY,
            value=package,
            fix="Check its name and the network, or give search.sampler.folder with a copy of the registry.",
        ) from None
