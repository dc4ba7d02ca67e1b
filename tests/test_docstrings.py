"""Every public name has a numpydoc docstring that says it all."""

import importlib
import inspect
import typing

import pytest
from numpydoc.validate import validate

import rapidfit_sk

MODULES = [
    "rapidfit_sk",
    "rapidfit_sk.callbacks",
    "rapidfit_sk.datasets",
    "rapidfit_sk.model_selection",
    "rapidfit_sk.testing",
]

# What numpydoc would like and is not asked for, with the reason.
IGNORED = {
    "ES01",  # an extended summary, where the summary says it all
    "SA01",  # See Also, where there is nothing to see
    "EX01",  # an example in each method; classes and functions are asked for theirs below
    "RT02",  # return values are named, as in scikit-learn
    "PR02",  # `**params` counts as unknown
}


def public_things():
    """Map the names of public classes and functions to what they are."""
    found = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found[f"{module_name}.{name}"] = thing
    return found


def public_methods(name, thing):
    """Name the methods that a class defines itself, but for the hooks that skorch describes."""
    if not inspect.isclass(thing):
        return []
    return [
        f"{name}.{method}"
        for method, value in vars(thing).items()
        if inspect.isfunction(getattr(value, "__func__", value))
        and not method.startswith(("_", "on_"))
    ]


THINGS = public_things()
METHODS = [method for item in THINGS.items() for method in public_methods(*item)]


@pytest.mark.parametrize("name", [*THINGS, *METHODS])
def test_docstring_is_complete(name):
    """numpydoc finds nothing missing: summary, parameters, returns, sections in order."""
    found = [error for error in validate(name)["errors"] if error[0] not in IGNORED]
    assert found == []


@pytest.mark.parametrize("name", [name for name in THINGS if not name.endswith("StopTraining")])
def test_docstring_has_an_example(name):
    """Each class and function shows an example; the doctests run it."""
    assert ">>>" in inspect.getdoc(THINGS[name])


def functions():
    """Yield (name, function) for what can be called; of a class that is its `__init__`."""
    for name in [*THINGS, *METHODS]:
        owner, _, method = name.rpartition(".")
        thing = THINGS[name] if name in THINGS else getattr(THINGS[owner], method)
        function = thing.__init__ if inspect.isclass(thing) else thing
        if inspect.isfunction(function) or inspect.ismethod(function):
            yield pytest.param(function, id=name)


@pytest.mark.parametrize("function", list(functions()))
def test_signature_has_types(function):
    """Each parameter is annotated, and so is what a function returns, with types that exist."""
    parameters = inspect.signature(function).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    expected = {parameter.name for parameter in parameters if parameter.kind not in variadic}
    if function.__name__ != "__init__":
        expected.add("return")
    assert expected - {"self"} <= typing.get_type_hints(function).keys()


def test_all_is_what_is_there():
    """__all__ holds what the package offers, and nothing else is public in it."""
    public = {
        name
        for name, value in vars(rapidfit_sk).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(rapidfit_sk.__all__)
