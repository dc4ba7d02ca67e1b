"""Parameter groups: names, ranges, nesting, and conversion to and from dicts."""

import copy
import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import estimator_html_repr

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
from rapidfit_sk.model_selection import TaskStratifiedKFold

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
        ({"config": 3}, "'config' parameter of MultiheadClassifier must be an instance of Multi"),
        ({"config": {"training": {"epochs": -1}}}, "'epochs' parameter of TrainingConfig"),
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


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (
            lambda: MultiheadClassifier(epochs=3),
            "MultiheadClassifier has no parameter 'epochs'. It is a parameter of TrainingConfig: "
            "pass config=MultiheadConfig(training=TrainingConfig(epochs=3)), or call "
            "set_params(config__training__epochs=3).",
        ),
        (
            lambda: MultiheadClassifier(config__training__epochs=3),
            "MultiheadClassifier has no parameter 'config__training__epochs'. It is a parameter of "
            "TrainingConfig: pass config=MultiheadConfig(training=TrainingConfig(epochs=3)), or "
            "call set_params(config__training__epochs=3).",
        ),
        (
            lambda: MultiheadClassifier(pooling="cls"),
            "MultiheadClassifier has no parameter 'pooling'. It is a parameter of MultiheadConfig: "
            "pass config=MultiheadConfig(pooling='cls'), or call "
            "set_params(config__pooling='cls').",
        ),
        (
            lambda: MultiheadConfig(epochs=3),
            "MultiheadConfig has no parameter 'epochs'. It is a parameter of TrainingConfig: pass "
            "training=TrainingConfig(epochs=3), or call set_params(training__epochs=3).",
        ),
    ],
)
def test_constructors_show_the_group_of_a_parameter(make, path):
    """The error for a parameter of a nested group shows two calls that set it."""
    with pytest.raises(TypeError) as error:
        make()
    assert str(error.value) == path


def test_the_calls_that_an_error_shows_work():
    """Both calls in the error for `epochs` set the number of epochs."""
    with pytest.raises(TypeError) as error:
        MultiheadClassifier(epochs=3)
    config, call = re.search(r"pass config=(.*), or call (.*)\.$", str(error.value)).groups()
    names = {"MultiheadConfig": MultiheadConfig, "TrainingConfig": TrainingConfig}
    assert eval(config, names).training.epochs == 3
    classifier = eval(f"classifier.{call}", {"classifier": MultiheadClassifier()})
    assert classifier.config.training.epochs == 3


def test_set_params_suggests_the_path_of_a_parameter():
    """set_params suggests the name with the groups that lead to the parameter."""
    with pytest.raises(ValueError, match="no parameter 'epochs'. Did you mean 'config__training__"):
        MultiheadClassifier().set_params(epochs=3)
    with pytest.raises(ValueError, match="no parameter 'epochs'. Did you mean 'training__epochs'"):
        MultiheadConfig().set_params(epochs=3)


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
    assert MultiheadConfig.from_dict(values) == MultiheadConfig()
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
    assert MultiheadConfig.from_dict(changed.to_dict()) == changed
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


# --------------------------------------------------------------------------------------------
# Equality


def test_groups_with_equal_parameters_are_equal():
    """Groups compare by their parameters, as to_dict shows them."""
    assert HeadConfig(dropout=0.3) == HeadConfig(dropout=0.3)
    assert HeadConfig(dropout=0.3) != HeadConfig()
    assert MultiheadConfig() == MultiheadConfig(head=HeadConfig())
    assert MultiheadConfig() != MultiheadConfig(head=HeadConfig(dropout=0.3))
    assert MultiheadConfig(pooling="cls") != MultiheadConfig()
    assert TrainingConfig(model_name=Path("folder")) == TrainingConfig(model_name="folder")
    assert HeadConfig() != EvalConfig()
    assert HeadConfig() != {}


def test_each_parameter_takes_part_in_the_comparison():
    """A change of any parameter makes two groups different."""
    for group in GROUPS:
        for name in group().get_params(deep=False):
            assert group().set_params(**{name: "another"}) != group(), name


def test_classifiers_compare_by_identity():
    """Two classifiers are never equal, because locks and sets tell them apart by identity."""
    first, second = MultiheadClassifier(), MultiheadClassifier()
    assert first != second
    assert len({first, second}) == 2


# --------------------------------------------------------------------------------------------
# A dict as the configuration of a classifier


@pytest.fixture
def described(encoder_name):
    """A part of a configuration as a dict."""
    return {
        "training": {"model_name": encoder_name, "epochs": 1, "test_size": 0},
        "loss": {"task_weights": {"intent": 2.0}},
    }


def test_a_dict_trains_as_its_configuration_does(described, messages):
    """A dict gives the same model as `from_dict`, stays as it is, and can come from to_dict."""
    config = MultiheadConfig.from_dict(described)
    before = copy.deepcopy(described)
    fits = [
        MultiheadClassifier(given, random_state=0).fit(messages[:100])
        for given in (described, config, config.to_dict())
    ]
    assert fits[0].config is described
    assert described == before
    texts = ["Do you ship to Norway?", "It broke again!"]
    first, *others = (fit.predict_proba(texts, task="intent") for fit in fits)
    assert all(np.array_equal(first, other) for other in others)


def test_parameters_in_a_dict_are_parameters_of_the_classifier(described):
    """get_params shows the values in a dict, set_params makes a configuration of it."""
    classifier = MultiheadClassifier(described)
    params = classifier.get_params()
    assert params["config"] is described
    assert params["config__training__epochs"] == 1
    assert params["config__head__dropout"] == 0.2
    assert set(params) == set(MultiheadClassifier().get_params())
    copied = clone(classifier)
    assert copied.config == described
    assert copied.config is not described
    before = copy.deepcopy(described)
    copied.set_params(config__head__dropout=0.5, config__loss__task_weights={"intent": 3.0})
    assert copied.config.head.dropout == 0.5
    assert copied.config.training == TrainingConfig(**described["training"])
    assert described == before
    replaced = MultiheadClassifier().set_params(config=described, config__pooling="cls")
    assert replaced.config == MultiheadConfig.from_dict({**described, "pooling": "cls"})


def test_searches_over_dicts_and_configurations(described, messages):
    """A search can start from a dict, and dicts and configurations can be candidates."""
    config = MultiheadConfig.from_dict({**described, "pooling": "cls"})
    base = MultiheadClassifier(described, random_state=0)
    for grid in ({"config": [described, config]}, {"config__head__dropout": [0.1, 0.2]}):
        search = GridSearchCV(base, grid, cv=TaskStratifiedKFold(2), error_score="raise")
        search.fit(messages[:100])
        assert search.cv_results_["params"] == [{name: v} for name in grid for v in grid[name]]
        assert search.best_estimator_.predict(["hi"]).shape == (1, 3)
    assert base.config is described


def test_a_classifier_with_a_dict_can_be_saved(described, messages, tmp_path):
    """A saved classifier has an equal configuration after loading."""
    fitted = MultiheadClassifier(described, random_state=0).fit(messages[:100])
    fitted.save(tmp_path / "saved")
    loaded = MultiheadClassifier.load(tmp_path / "saved")
    assert loaded.config == MultiheadConfig.from_dict(described)
    assert np.array_equal(loaded.predict(["hi"]), fitted.predict(["hi"]))
    assert pickle.loads(pickle.dumps(fitted)).config == described


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"trainng": {}}, "MultiheadConfig has no parameter 'trainng'. Did you mean 'training'"),
        ({"training": {"epoch": 3}}, "TrainingConfig has no parameter 'epoch'. Did you mean 'ep"),
        ({"epochs": 3}, "It is a parameter of the 'training' group"),
        ({"training": 3}, r"TrainingConfig takes a dict, got 3 \(int\)"),
    ],
)
def test_an_invalid_dict_is_an_error_in_fit(config, message):
    """fit and set_params refuse an invalid dict; get_params, clone and the diagram do not fail."""
    classifier = MultiheadClassifier(config)
    assert clone(classifier).get_params()["config"] == config
    assert "MultiheadClassifier" in estimator_html_repr(classifier)
    with pytest.raises((ValueError, TypeError), match=message):
        classifier.fit({})
    with pytest.raises((ValueError, TypeError), match=message):
        classifier.set_params(config__pooling="cls")
    assert classifier.config is config


def test_configurations_are_hashable():
    """Equal configurations have the same hash, so pandas can group by them."""
    first, second = MultiheadConfig(), MultiheadConfig(training=TrainingConfig())
    assert first == second
    assert hash(first) == hash(second)
    assert len({first, second, MultiheadConfig(pooling="max")}) == 2
    arrays = [TrainingConfig(learning_rate=np.array([1, 2])) for _ in range(2)]
    assert arrays[0] == arrays[0]
    assert arrays[0] != arrays[1]
