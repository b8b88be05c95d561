"""What earlier versions wrote, as this version reads it: plain JSON values in, plain JSON values out."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .errors import UserError
from .networks.start import Fixed, FromPool, Pretrained, Random, Start
from .storage.records import TEXT, one_of

CONFIG_VERSION = 2
"""The version of stored configurations. Version 1 has none written in it; it names the start by ``initial``
(random, fixed, own or a pool) and ``initialiser``."""


def config(plain: Any) -> Any:
    """Return the configuration of a run as this version reads it, without its version.

    Args:
        plain: plain values of any version; what is no record is returned as it is.

    Raises:
        UserError: the configuration is of a later version, or an old setting has a value that it cannot have.
    """
    if not isinstance(plain, Mapping):
        return plain
    version = plain.get("version", 1)
    if version not in (1, CONFIG_VERSION):
        raise UserError(f"the configuration has version {version!r}, but this version of datastill reads versions 1 to "
                        f"{CONFIG_VERSION}; update datastill")  # fmt: skip
    new = {name: value for name, value in plain.items() if name not in ("version", "initial", "initialiser")}
    if plain.keys() & {"initial", "initialiser"}:
        initial, initialiser = _texts(plain, initial="random", initialiser="xavier")
        new["start"] = asdict(_start(initial, initialiser))
    return new


def pool_settings(plain: Any) -> Any:
    """Return the settings of a pool as this version reads them; earlier ones named its start by ``initialiser``."""
    if not isinstance(plain, Mapping) or "initialiser" not in plain:
        return plain
    new = {name: value for name, value in plain.items() if name != "initialiser"}
    (initialiser,) = _texts(plain, initialiser="xavier")
    return new | {"start": asdict(_start(initialiser if FromPool.spelled(initialiser) else "random", initialiser))}


def pool_record(plain: Any) -> Any:
    """Return the record of an unfinished pool as this version reads it."""
    return plain | {"settings": pool_settings(plain.get("settings"))} if isinstance(plain, dict) else plain


def study(plain: Any) -> Any:
    """Return the settings of a study, with its name, as this version reads them."""
    settings = plain.get("settings") if isinstance(plain, Mapping) else None
    if not isinstance(settings, Mapping):
        return plain
    changed = {"source": pool_settings, "target": config, "points": _points}
    new = {name: changed.get(name, lambda value: value)(value) for name, value in settings.items()}
    return {**plain, "settings": new}


def _points(plain: Any) -> Any:
    """Return the points of a sweep with a start; earlier versions named it by ``initial``."""
    return [config(point) for point in plain] if isinstance(plain, list | tuple) else plain


def _texts(plain: Mapping[str, Any], **usual: str) -> list[str]:
    return [TEXT(plain.get(name, value), name) for name, value in usual.items()]


def _start(initial: str, initialiser: str) -> Start:
    if pool := FromPool.spelled(initial):
        return pool
    one_of("random", "fixed", "own")(initial, "initial")
    if initial == "own":
        return Pretrained()
    return Fixed(initialiser) if initial == "fixed" else Random(initialiser)
