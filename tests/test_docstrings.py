"""Each public name has a complete numpydoc docstring and type annotations."""

import importlib
import inspect
import typing

import pytest
from numpydoc.validate import validate

import rapidfit_sk

MODULES = [
    "rapidfit_sk",
    "rapidfit_sk.bulk",
    "rapidfit_sk.callbacks",
    "rapidfit_sk.datasets",
    "rapidfit_sk.inspection",
    "rapidfit_sk.model_selection",
    "rapidfit_sk.plotting",
    "rapidfit_sk.testing",
]

# Rules of numpydoc that are not enforced, with the reason.
IGNORED = {
    "ES01",  # an extended summary: the summary is often enough
    "SA01",  # See Also: some objects have no related ones
    "EX01",  # examples of methods: only classes and functions need one, see below
    "RT02",  # unnamed return values: scikit-learn names them
    "PR02",  # unknown parameters: numpydoc does not recognize `**params`
}


def public_objects():
    """Map the full names of public classes and functions to these objects."""
    found = {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found[f"{module_name}.{name}"] = thing
    return found


def public_methods(name, thing):
    """Return the names of the methods that a class defines, without hooks of skorch callbacks."""
    if not inspect.isclass(thing):
        return []
    return [
        f"{name}.{method}"
        for method, value in vars(thing).items()
        if inspect.isfunction(getattr(value, "__func__", value))
        and not method.startswith(("_", "on_"))
    ]


OBJECTS = public_objects()
METHODS = [method for item in OBJECTS.items() for method in public_methods(*item)]


@pytest.mark.parametrize("name", [*OBJECTS, *METHODS])
def test_docstring_is_complete(name):
    """numpydoc reports no error in the summary, parameters, returns or order of sections."""
    found = [error for error in validate(name)["errors"] if error[0] not in IGNORED]
    assert found == []


@pytest.mark.parametrize("name", [name for name in OBJECTS if not name.endswith("StopTraining")])
def test_docstring_has_an_example(name):
    """Each public class and function has an example, which the doctests run."""
    assert ">>>" in inspect.getdoc(OBJECTS[name])


def functions():
    """Yield a test parameter for each function, each method and the `__init__` of each class."""
    for name in [*OBJECTS, *METHODS]:
        owner, _, method = name.rpartition(".")
        thing = OBJECTS[name] if name in OBJECTS else getattr(OBJECTS[owner], method)
        function = thing.__init__ if inspect.isclass(thing) else thing
        if inspect.isfunction(function) or inspect.ismethod(function):
            yield pytest.param(function, id=name)


@pytest.mark.parametrize("function", list(functions()))
def test_signature_has_types(function):
    """Each parameter and each return value is annotated with a type that exists."""
    parameters = inspect.signature(function).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    expected = {parameter.name for parameter in parameters if parameter.kind not in variadic}
    if function.__name__ != "__init__":
        expected.add("return")
    assert expected - {"self"} <= typing.get_type_hints(function).keys()


def test_all_lists_the_public_names():
    """`__all__` lists exactly the public names of the package."""
    own = {
        name
        for name, value in vars(rapidfit_sk).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("rapidfit_sk")
    }
    lazy = {"find_encoder", "show_versions"}
    assert own | lazy == set(rapidfit_sk.__all__)
    assert all(callable(getattr(rapidfit_sk, name)) for name in lazy)
    with pytest.raises(AttributeError, match="no attribute 'find_encodr'"):
        rapidfit_sk.find_encodr  # noqa: B018
