"""Settings of a command: defaults, then a YAML file, then flags."""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sparseloom.model.arguments import read_config
from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig
from sparseloom.model.errors import InputError, cut, shown

Config = TypeVar("Config", PruneConfig, TrainConfig, QuantizeConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSettings:
    """What a YAML file says: ``TrainingArguments``, and sections of our own settings."""

    arguments: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Any]]
    where: str


def read_settings(path: Path | None) -> FileSettings:
    """Read ``--config``; without one, nothing is said.

    Raises
    ------
    InputError
        If it cannot be read or holds unknown names.
    """
    if path is None:
        return FileSettings(arguments={}, sections={}, where="")
    arguments, sections = read_config(path)
    return FileSettings(arguments=arguments, sections=sections, where=f"config {path}")


def merged(kind: type[Config], section: str, file: FileSettings, flags: Mapping[str, Any],
           ) -> Config:
    """One configuration: defaults, the file's section, then the flags that were given.

    Raises
    ------
    InputError
        If the section has an unknown name, or a value is refused.
    """
    said = dict(file.sections.get(section, {}))
    known = {field.name for field in dataclasses.fields(kind)} - {"arguments"}
    for name in said:
        if name not in known:
            raise InputError(f"{file.where}, {section}: expected one of "
                             f"{', '.join(sorted(known))}, found {shown(name)}")
    if "milestones" in said:
        said["milestones"] = tuple(map(str, _listed(said["milestones"])))
    if "layer_strengths" in said:
        pairs = said["layer_strengths"]
        if not isinstance(pairs, Mapping):
            raise InputError(f"{file.where}, layer_strengths: expected patterns with numbers, "
                             f"found {shown(pairs)}")
        said["layer_strengths"] = tuple(pairs.items())
    given = {name: value for name, value in flags.items() if value is not None}
    return kind(**{**said, **given})


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def parse_set(pairs: Sequence[str]) -> dict[str, Any]:
    """``--set name=value`` flags; values are read as YAML.

    Raises
    ------
    InputError
        Unless each is a name, ``=`` and a value.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"set: expected name=value, found {shown(pair)}")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"set {cut(name)}: expected a YAML value, found {shown(value)}"
                             ) from None
    return found


def parse_strengths(pairs: Sequence[str]) -> tuple[tuple[str, float], ...] | None:
    """``--lambda-of pattern=number`` flags; None where there are none.

    Raises
    ------
    InputError
        Unless each is a pattern, ``=`` and a number.
    """
    found = []
    for pair in pairs:
        pattern, equals, value = pair.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            equals = ""
        if not equals or not pattern:
            raise InputError(f"lambda-of: expected pattern=number, found {shown(pair)}")
        found.append((pattern, number))
    return tuple(found) or None
