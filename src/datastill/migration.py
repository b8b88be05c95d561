"""What earlier versions wrote, as this version reads it: plain JSON values in, plain JSON values out."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from .errors import UserError
from .networks.start import Fixed, FromPool, Pretrained, Random, Start
from .objectives import Classification, Misread, Objective
from .storage.files import as_read
from .storage.records import ANYTHING, TEXT, WHOLE, list_of, one_of, optional, record, shown

CONFIG_VERSION = 2
"""The version of stored configurations. Version 1 has none written in it; it names the start by ``initial``
(random, fixed, own or a pool) and ``initialiser``, the objective by ``objective`` (classification or attack) with
``attack_class`` and ``target_class``, and has ``engine`` beside the method instead of in `Unroll`."""
UNROLLING = "dataset-distillation"
"""The only method of version 1 that unrolls; it is meant where the method has no name."""


ADDED_TO_POOLS = {"snapshots": 0, "optimiser": "adam", "schedule": "linear", "augmentation": "none"}
"""The settings of pools that came after version 0.1, as its pools were trained."""
MEASURES = {"misread": "misread", "overall": "accuracy", "others": "others"}
"""The measures of an attack by their earlier names."""
STAGE = record(dict.fromkeys(MEASURES, ANYTHING), needed=tuple(MEASURES))
ATTACK = record({"before": STAGE, "after": STAGE}, needed=("before", "after"), more=True)
"""The rule of earlier measures of an attack, as far as they are read here."""


def config(plain: Any) -> Any:
    """Return the configuration of a run as this version reads it.

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
    new = _with_objective(_with_start(plain))
    if "initial" in plain or "initialiser" in plain:
        new["version"] = CONFIG_VERSION
    if "protocol" in plain:
        new["protocol"] = protocol(plain["protocol"])
    return _with_unroll(new)


def _with_start(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with a start instead of ``initial`` and ``initialiser``; unchanged if it has neither."""
    if not plain.keys() & {"initial", "initialiser"}:
        return dict(plain)
    initial, initialiser = _texts(plain, initial="random", initialiser="xavier")
    new = {name: value for name, value in plain.items() if name not in ("initial", "initialiser")}
    return new | {"start": _as_plain(_start(initial, initialiser))}


def _with_objective(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose objective is one record instead of a name and two classes."""
    if not isinstance(plain.get("objective"), str):
        return plain
    attacks = one_of("classification", "attack")(plain["objective"], "objective") == "attack"
    classes = [WHOLE(plain.get(name, usual), name) for name, usual in (("attack_class", 0), ("target_class", 1))]
    new = {name: value for name, value in plain.items() if name not in ("attack_class", "target_class")}
    return new | {"objective": _as_plain(Misread(*classes) if attacks else Classification())}


def _with_unroll(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with all that belongs to unrolling in one record of the method."""
    engine = {name: plain.pop(name) for name in ("engine",) if name in plain}
    method = plain.get("method", {})
    if not isinstance(method, Mapping) or "unroll" in method or method.get("name", UNROLLING) != UNROLLING:
        return plain
    moved = {name: method[name] for name in ("networks", "window") if name in method} | engine
    kept = {name: value for name, value in method.items() if name not in moved}
    return plain | {"method": {**kept, "unroll": moved}} if moved else plain


def planned(plain: Any) -> Any:
    """Return the method of a run with every choice made, as the record in its folder has it; None if it has none.

    Earlier versions recorded only the engine that was chosen.
    """
    if not isinstance(plain, Mapping) or "planned" in plain or "engine" not in plain:
        return plain.get("planned") if isinstance(plain, Mapping) else None
    settings = plain.get("config")
    old = {**settings, "engine": plain["engine"]} if isinstance(settings, Mapping) else {"engine": plain["engine"]}
    return config(old).get("method")


def checkpoint(plain: Any) -> Any:
    """Return what a checkpoint holds as this version reads it; earlier ones do not name their method."""
    if not isinstance(plain, Mapping) or "method" in plain:
        return plain
    stored = plain.get("identity")
    identity = {**stored} if isinstance(stored, Mapping) else {}
    if found := planned(identity):
        identity |= {"config": config(identity.get("config")), "planned": found}
        del identity["engine"]
    carried = {"carried": {}, "best_carried": {}}
    name = {"method": identity.get("planned", {}).get("name", UNROLLING), "version": 1}
    return {**plain, **name, **carried, "optimiser": {"adam": plain.get("optimiser")}, "identity": identity}


def protocol(plain: Any, own: Start | None = None) -> Any:
    """Return the settings of an evaluation as this version reads them; earlier ones have ``initialiser``.

    Args:
        plain: plain values.
        own: the start of the set that was evaluated, if it is known.
    """
    if not isinstance(plain, Mapping) or "initialiser" not in plain:
        return plain
    (name,) = _texts(plain, initialiser="")
    new = {key: value for key, value in plain.items() if key != "initialiser"}
    start = None if name in ("", "none") else _measured(name, own)
    return new | {"start": start and _as_plain(start)}


def _measured(name: str, own: Start | None) -> Start | None:
    """Return the start that an earlier version measured with: ``fixed`` is the only one that a set has."""
    found = own if name == "fixed" else FromPool.spelled(name) or Random(name)
    return own if str(found) == str(own) else found


def _as_plain(record: Start | Objective) -> dict[str, Any]:
    """Return a start or an objective as plain JSON values."""
    plain: dict[str, Any] = as_read(asdict(record))
    return plain


def score(plain: Any, own: Start | None = None) -> Any:
    """Return a score as this version reads it; `own` is the start of its set, if it is known."""
    if not isinstance(plain, Mapping) or "protocol" not in plain:
        return plain
    return _with_measures({**plain, "protocol": protocol(plain["protocol"], own)})


def _with_measures(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a score whose further measures have the form of today; earlier ones have them in ``attack``."""
    if not isinstance(plain.get("attack"), Mapping):
        return plain
    attack = plain.pop("attack")
    ATTACK(attack, "score.attack")
    for name in ("split", "images", "n"):
        if name in attack and attack[name] != plain.get(name):
            raise UserError(
                f"score.attack.{name} is {shown(attack[name])}, but score.{name} is {shown(plain.get(name))}"
            )
    stages = ("before", "after")
    measures = {name: {stage: attack[stage][old] for stage in stages} for old, name in MEASURES.items()}
    return plain | {"measures": measures}


def header(plain: Any) -> Any:
    """Return the header of a set as this version reads it.

    Earlier ones have ``initial``, ``initialiser`` and ``weights`` instead of the start, ``attack``, a pair of classes
    or nothing, instead of the objective, a baseline has ``baseline`` instead of the settings of a run, and the squared
    error has no scale.

    Raises:
        UserError: one of these has a value that it cannot have.
    """
    if not isinstance(plain, Mapping):
        return plain
    new = _header_with_start(plain) if plain.keys() & {"initial", "initialiser", "weights"} else dict(plain)
    return _with_scale(_with_run(_header_with_objective(new) if "attack" in new else new))


def _with_scale(new: dict[str, Any]) -> dict[str, Any]:
    """Return a header whose squared error makes hard targets as large as the learned ones of the set.

    Earlier ones do not say it: hard targets were not scaled.
    """
    scale, loss = _inside(new, "config", "method", "scale"), _inside(new, "program", "loss")
    if _inside(loss, "kind") != "squared-error" or "scale" in loss or not isinstance(scale, float):
        return new
    return new | {"program": {**new["program"], "loss": {**loss, "scale": scale}}}


def _header_with_objective(new: dict[str, Any]) -> dict[str, Any]:
    classes = optional(list_of(WHOLE, 2, 2))(new.pop("attack"), "header.attack")
    objective = Misread(*classes) if classes else Classification()
    changed = {"config": config(new.get("config", {})), "score": score(new.get("score"))}
    return new | changed | {"objective": _as_plain(objective)}


def _with_run(new: dict[str, Any]) -> dict[str, Any]:
    """Return a header with the settings of a run; a baseline of an earlier version has its own record of them."""
    made = _inside(new, "config", "baseline")
    if not isinstance(made, Mapping):
        return new
    names = ("nearest", "features") if made.get("kind") == "average" else ("ipc", "steps", "nearest", "features")
    kind = "random" if made.get("kind") == "optimised-random" else made.get("kind")
    found = {
        "version": CONFIG_VERSION,
        "data": new["config"].get("data"),
        "method": {"name": kind} | {name: made[name] for name in names if name in made},
        "candidates": made.get("candidates", 1),
        "seed": made.get("seed"),
        "network": new.get("network"),
        "objective": new.get("objective"),
    }
    if _inside(new, "start", "kind") == "random":
        found |= {"start": new["start"], "protocol": {"networks": _inside(new, "score", "n")}}
    return new | {"config": {name: value for name, value in found.items() if value is not None}}


def _header_with_start(plain: Mapping[str, Any]) -> dict[str, Any]:
    new = {name: value for name, value in plain.items() if name not in ("initial", "initialiser", "weights")}
    start, weights = _header_start(plain), TEXT(plain.get("weights", ""), "header.weights")
    own = replace(start, sha256=weights) if isinstance(start, Pretrained) else start
    same = _inside(plain, "score", "protocol", "network") in (None, plain.get("network"))
    changed = {
        "start": _as_plain(own),
        "frozen": "" if isinstance(start, Pretrained) else weights,
        "config": config(plain.get("config", {})),
        "score": score(plain.get("score"), own if same else own.fresh()),
    }
    return new | changed


def _header_start(plain: Mapping[str, Any]) -> Start:
    initial = one_of("fixed", "random", "own")(plain.get("initial"), "header.initial")
    initialiser = TEXT(plain.get("initialiser"), "header.initialiser")
    pool = FromPool.spelled(initialiser)
    if initial == "own" or pool is None:
        return _start(initial, initialiser)
    sha256 = _inside(plain, "provenance", "pool", "sha256")
    return replace(pool, sha256=sha256) if isinstance(sha256, str) else pool


def _inside(plain: Any, *names: str) -> Any:
    """Return the value at the end of a path of names; None if there is none."""
    for name in names:
        plain = plain.get(name) if isinstance(plain, Mapping) else None
    return plain


def part(plain: Any) -> Any:
    """Return the part of a study as this version reads it."""
    if not isinstance(plain, Mapping):
        return plain
    new = {**plain, "score": score(plain["score"])} if "score" in plain else dict(plain)
    if isinstance(plain.get("scores"), list):
        new["scores"] = [score(each) for each in plain["scores"]]
    return new


def pool_settings(plain: Any) -> Any:
    """Return the settings of a pool as this version reads them.

    Earlier ones named the start by ``initialiser``, and had no snapshots; their optimiser was Adam.
    """
    if not isinstance(plain, Mapping):
        return plain
    new = ADDED_TO_POOLS | {name: value for name, value in plain.items() if name != "initialiser"}
    if "initialiser" not in plain:
        return new
    (initialiser,) = _texts(plain, initialiser="xavier")
    start = _start(initialiser if FromPool.spelled(initialiser) else "random", initialiser)
    return new | {"start": _as_plain(start)}


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
    if not isinstance(plain, list | tuple):
        return plain
    return [_with_start(point) if isinstance(point, Mapping) else point for point in plain]


def _texts(plain: Mapping[str, Any], **usual: str) -> list[str]:
    return [TEXT(plain.get(name, value), name) for name, value in usual.items()]


def _start(initial: str, initialiser: str) -> Start:
    if pool := FromPool.spelled(initial):
        return pool
    one_of("random", "fixed", "own")(initial, "initial")
    if initial == "own":
        return Pretrained()
    return Fixed(initialiser) if initial == "fixed" else Random(initialiser)
