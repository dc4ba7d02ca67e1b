"""Groups of parameters with the parameter interface of scikit-learn."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator

from ._validation import (
    Constraint,
    InvalidParameterError,
    check_names,
    check_parameters,
    short,
    suggestion,
)


class ParameterGroup(BaseEstimator):
    """Group of parameters with nested groups, each of which may be None to use its defaults.

    In a plain `BaseEstimator`, `config=None` would hide `config__head__dropout` from `get_params`,
    so a grid search over it would fail. In this class, `get_params` lists the defaults of a group
    that is None, and `set_params` creates the group when one of its parameters is set. A group that
    is a dict is treated in the same way.
    """

    _constraints: ClassVar[dict[str, Constraint]] = {}
    _groups: ClassVar[dict[str, type[ParameterGroup]]] = {}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this group.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parameters of nested groups, as `group__parameter`.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        params = super().get_params(deep=deep)
        if deep:
            for name in self._groups:
                if not isinstance(params[name], ParameterGroup):
                    nested = self._nested_params(name)
                    params |= {f"{name}__{key}": value for key, value in nested.items()}
        return params

    def __setstate__(self, state: dict[str, Any]):
        """Set the state; parameters that are newer than the pickle get their defaults."""
        super().__setstate__(type(self)().get_params(deep=False) | state)

    def _nested_params(self, name: str) -> dict[str, Any]:
        """Return the parameters of a group, also if it is None or a dict; none if it is invalid."""
        if not self._constraints[name].accepts(getattr(self, name)):
            return {}
        try:
            return self._group(name).get_params(deep=True)
        except (TypeError, ValueError):  # an error in `fit`, like any other invalid value
            return {}

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this group and of nested groups.

        Parameters
        ----------
        **params : dict
            Parameter names and their new values. Parameters of nested groups are named
            `group__parameter`. The values are checked in `fit`, not here.

        Returns
        -------
        self : ParameterGroup
            This group.

        Raises
        ------
        ValueError
            If a name is unknown. The message suggests the closest one or the right group, and
            nothing is set.
        """
        self._check_keys(params)
        own = self.get_params(deep=False)
        for name, group in self._groups.items():
            if not any(key.startswith(f"{name}__") for key in params):
                continue
            value = params.get(name, own[name])
            if isinstance(value, group):
                continue
            if not self._constraints[name].accepts(value):
                raise InvalidParameterError(
                    f"The parameters of {name!r} cannot be set, because {name!r} is not an "
                    f"instance of {group.__name__}. Got {short(value)} instead."
                )
            params[name] = group_from(group, {} if value is None else value)
        return super().set_params(**params)

    @classmethod
    def _check_keys(cls, keys):
        """Check the names of parameters, including those of nested groups."""
        parts = [key.partition("__") for key in keys]
        names = (name for name, _, _ in parts)
        check_names(cls.__name__, names, cls._get_param_names(), hint=cls._path_hint)
        inner: dict[str, list[str]] = {}
        for name, is_nested, key in parts:
            if is_nested and name not in cls._groups:
                raise ValueError(
                    f"{cls.__name__} has no parameter {short(f'{name}__{key}')}, because {name!r} "
                    f"is not a group of parameters. Set {name!r} itself."
                )
            if is_nested:
                inner.setdefault(name, []).append(key)
        for name, nested in inner.items():
            cls._groups[name]._check_keys(nested)

    @classmethod
    def _path_to(cls, name: str) -> list[str]:
        """Return the names of the groups that lead to a parameter, and its own name.

        The list is empty if no nested group has the parameter.
        """
        for group, kind in cls._groups.items():
            if name in kind._get_param_names():
                return [group, name]
            inner = kind._path_to(name)
            if inner:
                return [group, *inner]
        return []

    @classmethod
    def _path_hint(cls, name: str) -> str:
        """Return " Did you mean 'group__name'?" for a parameter of a nested group."""
        path = cls._path_to(name)
        return f" Did you mean {'__'.join(path)!r}?" if path else ""

    @classmethod
    def _home_of(cls, name: str, value: Any) -> str:
        """Return a sentence that shows how to set a parameter of a nested group."""
        path = cls._path_to(name.rpartition("__")[2])
        if not path:
            return ""
        kinds: list[type[ParameterGroup]] = [cls]
        for group in path[:-1]:
            kinds.append(kinds[-1]._groups[group])
        example = f"{path[-1]}={short(value)}"
        for group, kind in zip(path[-2::-1], kinds[:0:-1], strict=True):
            example = f"{group}={kind.__name__}({example})"
        return (
            f" It is a parameter of {kinds[-1].__name__}: pass {example}, or call "
            f"set_params({'__'.join(path)}={short(value)})."
        )

    def _group(self, name: str) -> ParameterGroup:
        """Return a group as an instance of its class, also if it is None or a dict.

        Raises
        ------
        ValueError, TypeError
            If the value is a dict with an unknown key, or anything else.
        """
        value = getattr(self, name)
        return group_from(self._groups[name], {} if value is None else value)

    def _filled(self):
        """Check the parameters and return a copy in which no group is None."""
        check_parameters(self, self._constraints)
        params = self.get_params(deep=False)
        for name in self._groups:
            params[name] = self._group(name)._filled()
        return type(self)(**params)


class ConfigGroup(ParameterGroup):
    """Group of parameters that is equal to another one with equal parameters.

    A nested group that is None equals a group of its defaults, and a path equals its string, as in
    :meth:`MultiheadConfig.to_dict`.
    """

    def __hash__(self) -> int:
        """Return the hash of the class, because equal groups need the same hash and can change."""
        return hash(type(self))

    def __eq__(self, other: object) -> bool:
        """Check whether another group has the same class and equal parameters."""
        if type(other) is not type(self):
            return NotImplemented
        try:
            return bool(self._compared() == other._compared())
        except ValueError:  # arrays, which are not valid parameters
            return self is other

    def _compared(self) -> dict[str, Any]:
        """Return the parameters in the form in which they are compared."""
        params = self.get_params(deep=False)
        for name, value in params.items():
            if value is None and name in self._groups:
                params[name] = self._groups[name]()
            elif isinstance(value, PathLike):
                params[name] = fspath(value)
        return params


def check_mapping(name: str, values: object):
    """Raise TypeError if the values of a group are not a dict."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} takes a dict, got {short(values)} ({type(values).__name__}).")


def _check_key(config, key):
    """Raise an error for an unknown key, and name the group or the parameter that may be meant."""
    known = config().get_params(deep=False)
    if key in known:
        return
    homes = [name for name, group in config._groups.items() if key in group().get_params()]
    hint = f" It is a parameter of the {homes[0]!r} group." if homes else suggestion(key, known)
    raise ValueError(
        f"{config.__name__} has no parameter {short(key)}.{hint} Its parameters are: "
        f"{', '.join(known)}."
    )


def group_from(group, values):
    """Build a group from a dict, or copy a group; None stays None."""
    if values is None or isinstance(values, group):
        return copy.copy(values)
    check_mapping(group.__name__, values)
    for key in values:
        _check_key(group, key)
    params = copied(values)
    for key in values.keys() & group._groups.keys():
        params[key] = group_from(group._groups[key], values[key])
    return group(**params)


def copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the parameters of a group, so changes to a dict among them do not affect the original.

    A deep copy would fail for values that cannot be copied, before they are checked.
    """
    return {key: dict(value) if type(value) is dict else value for key, value in values.items()}
