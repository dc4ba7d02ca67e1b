"""Parameter groups: names, ranges, nesting, and conversion to and from dicts."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk._validation import InvalidParameterError

GROUPS = [TrainingConfig, HeadConfig, EncoderConfig, LossConfig, EvalConfig, MultiheadConfig]


@pytest.mark.parametrize("group", [*GROUPS, MultiheadClassifier])
def test_every_parameter_has_a_constraint(group):
    """Each parameter has a constraint, and its default meets the constraint."""
    assert set(group._constraints) == set(group().get_params(deep=False))
    for name, value in group().get_params(deep=False).items():
        assert group._constraints[name].accepts(value), name


@pytest.mark.parametrize("group", GROUPS)
def test_signature_is_explicit(group):
    """Signatures list all parameters, as keyword-only arguments, for editors and scikit-learn."""
    parameters = inspect.signature(group).parameters
    assert set(parameters) == set(group().get_params(deep=False))
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("group", "name", "value", "message"),
    [
        ("head", "dropout", 3, r"The 'dropout' parameter of HeadConfig must be a float in the "
         r"range \[0.0, 1.0\). Got 3 instead."),
        ("head", "dropout", 1.0, "Got 1.0 instead"),
        ("head", "dropout", "0.1", "Got '0.1' instead"),
        ("head", "dropout", float("nan"), "Got nan instead"),
        ("head", "activation", "swish", "a str among {'gelu', 'relu', 'silu', 'tanh'}"),
        ("head", "hidden_layers", 1.0, r"an int in the range \[0, 100\]"),
        ("head", "hidden_multiplier", 0, r"a float in the range \(0.0, 100.0\]"),
        ("training", "epochs", True, "an int"),
        ("training", "batch_size", 0, r"an int in the range \[1, 2147483647\]"),
        ("training", "max_length", 1, r"an int in the range \[2, 2147483647\] or None"),
        ("training", "learning_rate", 0, "a float"),
        ("training", "max_grad_norm", 0, r"\(0.0, inf\) or None"),
        ("training", "test_size", 1.0, r"\[0.0, 1.0\)"),
        ("training", "model_name", "", "a non-empty str"),
        ("encoder", "unfreeze_layers", -1, r"an int in the range \[0, 2147483647\] or None"),
        ("encoder", "lr_multiplier", 1.5, r"\(0.0, 1.0\]"),
        ("loss", "use_focal_loss", 1, "a bool"),
        ("loss", "task_weights", {"a": -1}, "a dict of {task name: a float in the range"),
        ("eval", "metric", "auc", "a str among {'accuracy', 'f1', 'loss'}"),
    ],
)  # fmt: skip
def test_values_are_checked_in_fit(group, name, value, message):
    """set_params stores an invalid value without a check, and fit refuses it."""
    classifier = MultiheadClassifier().set_params(**{f"config__{group}__{name}": value})
    with pytest.raises(InvalidParameterError, match=message):
        classifier.fit({})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"config": {"training": {}}}, "'config' parameter of MultiheadClassifier"),
        ({"config__head": EvalConfig()}, "an instance of HeadConfig or None"),
        ({"config__pooling": "sum"}, "a str among {'attention', 'mean', 'cls', 'max'}"),
        ({"device": "nonsense"}, "'auto' or a torch device of this machine. Got 'nonsense'"),
        ({"text_column": ""}, "'text_column' parameter of MultiheadClassifier"),
        ({"random_state": 2**32}, r"an int in the range \[0, 4294967295\]"),
        ({"random_state": "0"}, "'random_state' parameter of MultiheadClassifier"),
        ({"callbacks": "log"}, "'callbacks' parameter of MultiheadClassifier"),
        ({"callbacks": [object()]}, "a list of skorch callbacks"),
    ],
)
def test_classifier_parameters_are_checked(params, message):
    """fit refuses invalid parameters of the classifier itself with the same kind of message."""
    with pytest.raises(InvalidParameterError, match=message):
        MultiheadClassifier().set_params(**params).fit({})


def test_unknown_names_suggest_the_nearest():
    """The constructor, set_params and from_dict suggest the name that was probably meant."""
    with pytest.raises(TypeError, match="HeadConfig has no parameter 'droput'. Did you mean 'drop"):
        HeadConfig(droput=0.1)
    with pytest.raises(ValueError, match="Did you mean 'dropout'"):
        MultiheadClassifier().set_params(config__head__droput=0.1)
    with pytest.raises(ValueError, match="Did you mean 'training'"):
        MultiheadConfig.from_dict({"trainng": {}})
    with pytest.raises(ValueError, match="Did you mean 'epochs'"):
        MultiheadConfig.from_dict({"training": {"epoch": 3}})
    with pytest.raises(
        ValueError, match="'learning_rate'. It is a parameter of the 'training' group"
    ):
        MultiheadConfig.from_dict({"learning_rate": 1e-5})


def test_parameters_of_missing_groups_can_be_set():
    """Parameters of a group that is None are listed with their defaults and can be set."""
    classifier = MultiheadClassifier()
    assert classifier.get_params()["config__head__dropout"] == 0.2
    classifier.set_params(config__head__dropout=0.5)
    assert classifier.config.head.dropout == 0.5
    assert classifier.config.training is None
    classifier.set_params(config=None, config__pooling="max")
    assert classifier.config.pooling == "max"
    assert classifier.config.head is None


def test_defaults_are_not_shared():
    """Setting a nested parameter of one classifier does not change another classifier."""
    first, second = MultiheadClassifier(), MultiheadClassifier()
    first.set_params(config__head__dropout=0.5)
    assert second.config is None
    assert MultiheadConfig().get_params()["head__dropout"] == 0.2


def test_clone_is_deep():
    """A clone has equal parameters, but its own groups."""
    config = MultiheadConfig(head=HeadConfig(dropout=0.4))
    copy = clone(MultiheadClassifier(config))
    assert copy.config.to_dict() == config.to_dict()
    copy.set_params(config__head__dropout=0.1)
    assert config.head.dropout == 0.4


def test_dict_round_trip():
    """from_dict reverses to_dict, for the defaults and for a configuration with other values."""
    values = MultiheadConfig().to_dict()
    assert MultiheadConfig.from_dict(values).to_dict() == values
    changed = MultiheadConfig(
        training=TrainingConfig(epochs=2, max_grad_norm=None),
        head=HeadConfig(activation="tanh"),
        encoder=EncoderConfig(unfreeze_layers=None),
        loss=LossConfig(task_weights={"a": 2.0}),
        eval=EvalConfig(metric="loss"),
        pooling="max",
        task_sampling="equal",
    )
    assert MultiheadConfig.from_dict(changed.to_dict()).to_dict() == changed.to_dict()
    assert MultiheadConfig.from_dict({}).to_dict() == values
    assert MultiheadConfig.from_dict({"head": None}).head is None


def test_to_dict_is_a_copy():
    """Changing a dict after to_dict or from_dict does not change the configuration."""
    config = MultiheadConfig(loss=LossConfig(task_weights={"a": 2.0}))
    values = config.to_dict()
    values["loss"]["task_weights"]["a"] = 9
    assert config.loss.task_weights == {"a": 2.0}
    again = MultiheadConfig.from_dict(values)
    values["loss"]["task_weights"]["a"] = 5
    assert again.loss.task_weights == {"a": 9}
    folder = MultiheadConfig(training=TrainingConfig(model_name=Path("folder")))
    assert folder.to_dict()["training"]["model_name"] == "folder"


def test_values_of_a_grid_are_accepted():
    """Bools and numbers of numpy, and paths, are valid values."""
    MultiheadConfig(
        training=TrainingConfig(model_name=Path("folder"), epochs=np.int64(3)),
        head=HeadConfig(dropout=np.float32(0.5)),
        loss=LossConfig(use_focal_loss=np.bool_(True)),
    )._filled()


@pytest.mark.parametrize("values", [[("epochs", 1)], {"training": 3}, None])
def test_from_dict_accepts_only_dicts(values):
    """from_dict raises a TypeError that shows the value if it expects a dict and gets none."""
    with pytest.raises(TypeError, match="takes a dict, got"):
        MultiheadConfig.from_dict(values)
