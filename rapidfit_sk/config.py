"""What can be tuned: `MultiheadConfig` and its groups, all small scikit-learn estimators."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, ClassVar, Literal, Protocol, Self

from sklearn.base import BaseEstimator

from ._validation import (
    Constraint,
    boolean,
    check_names,
    check_parameters,
    instance_of,
    integer,
    mapping_to,
    none,
    one_of,
    real,
    suggestion,
    suggests_names,
    text,
)

__all__ = [
    "EncoderConfig",
    "EvalConfig",
    "HeadConfig",
    "LossConfig",
    "MultiheadConfig",
    "TrainingConfig",
]


_DEFAULT_ENCODER = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"


class ParameterGroup(BaseEstimator):
    """A `BaseEstimator` whose nested groups may be None, meaning their defaults.

    With plain scikit-learn, `config=None` would hide `config__head__dropout` from `get_params`
    and a grid search over it would fail. Here the defaults of a group that is None are listed,
    and setting one of them puts a group of its own in place of the None.
    """

    _constraints: ClassVar[dict[str, Constraint]] = {}
    _groups: ClassVar[dict[str, type[ParameterGroup]]] = {}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this group.

        Parameters
        ----------
        deep : bool, default=True
            Whether to list the parameters of nested groups too, as `group__parameter`.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        params = super().get_params(deep=deep)
        if deep:
            for name, group in self._groups.items():
                if params[name] is None:
                    defaults = group().get_params(deep=True)
                    params |= {f"{name}__{key}": value for key, value in defaults.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this group and, as `group__parameter`, of nested ones.

        Parameters
        ----------
        **params : dict
            Parameter names and their new values. They are checked in `fit`, not here.

        Returns
        -------
        self : ParameterGroup
            This group.

        Raises
        ------
        ValueError
            If a name is unknown; the message suggests the nearest.
        """
        own = self.get_params(deep=False)
        check_names(type(self).__name__, (key.partition("__")[0] for key in params), own)
        for name, group in self._groups.items():
            is_nested = any(key.startswith(f"{name}__") for key in params)
            if is_nested and params.get(name, own[name]) is None:
                params[name] = group()
        return super().set_params(**params)

    def _filled(self):
        """Return this group checked and copied, with each None group replaced by its defaults."""
        check_parameters(self, self._constraints)
        params = self.get_params(deep=False)
        for name, group in self._groups.items():
            params[name] = (params[name] or group())._filled()
        return type(self)(**params)


class TrainingConfig(ParameterGroup):
    """How to train: the encoder, the length of texts, batches, epochs and rates, the splits.

    Parameters
    ----------
    model_name : str or path-like, default="sentence-transformers/paraphrase-multilingual-..."
        The encoder: a folder, or a name on the Hugging Face hub. The default is
        ``"sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"``. See
        :func:`rapidfit_sk.find_encoder` for the places that are searched.
    max_length : int, default=128
        Tokens that the encoder reads at once, special tokens included.
    long_text : {"truncate", "head_tail", "windows"}, default="head_tail"
        How a text of more tokens is read: its beginning; its beginning and its end, half of
        `max_length` each [1]_; or all of it, cut into windows of even length whose embeddings are
        averaged. The windows of a text go through the encoder together: time and memory grow with
        the longest texts, in training above all, where `gradient_checkpointing` saves memory.
    batch_size : int, default=16
        Distinct texts in a batch. A text brings along its rows of all tasks.
    epochs : int, default=10
        Epochs in which the top of the encoder trains together with the heads. They follow the
        `freeze_epochs` of :class:`EncoderConfig`.
    min_steps_per_epoch : int, default=10
        Optimizer steps in an epoch, at the least. An epoch goes over the rows once; where that
        makes fewer steps, as with a hundred texts, it goes over them several times. `partial_fit`
        goes over them once.
    learning_rate : float, default=1e-4
        Peak learning rate of the encoder. The heads train at
        ``learning_rate / lr_multiplier``, see :class:`EncoderConfig`. The rate rises linearly
        and then falls along a cosine, step by step.
    weight_decay : float, default=0.01
        Decoupled weight decay (AdamW) of weight matrices. Biases and normalization weights have
        none.
    warmup_ratio : float, default=0.1
        Share of the steps, in [0, 1), over which the learning rate rises.
    gradient_accumulation_steps : int, default=1
        Batches whose gradients are added up for one optimizer step. The result is that of one
        batch of that many times the size.
    gradient_checkpointing : bool, default=False
        Whether the layers that train keep only their input and compute the rest again for the
        gradient [2]_. Training takes about a third longer and far less memory for long texts and
        large batches; its result is the same.
    max_grad_norm : float or None, default=1.0
        Largest norm of the accumulated gradient; a larger one is scaled down. None for no limit.
    test_size : float, default=0.1
        Share of the rows of each task, in [0, 1), held out for `test_scores_`.
    val_size : float or None, default=None
        Share of the remaining rows, in [0, 1), that choose the best epoch and calibrate the
        probabilities. None stands for 0.1; but where fewer than 2000 rows remain, and `patience`
        of :class:`EvalConfig` is not set, all of them train, for each is worth more there. Then
        probabilities are calibrated by a first training without a quarter of them.

    See Also
    --------
    MultiheadConfig : All groups together.

    References
    ----------
    .. [1] Sun et al., "How to Fine-Tune BERT for Text Classification?", CCL 2019.
    .. [2] Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, 2016.

    Examples
    --------
    >>> from rapidfit_sk import TrainingConfig
    >>> TrainingConfig(epochs=5)
    TrainingConfig(epochs=5)
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "model_name": text() | instance_of(PathLike),
        "max_length": integer(2),
        "long_text": one_of("truncate", "head_tail", "windows"),
        "batch_size": integer(1),
        "epochs": integer(0),
        "min_steps_per_epoch": integer(1),
        "learning_rate": real(0, closed="neither"),
        "weight_decay": real(0),
        "warmup_ratio": real(0, 1, closed="left"),
        "gradient_accumulation_steps": integer(1),
        "gradient_checkpointing": boolean(),
        "max_grad_norm": real(0, closed="neither") | none,
        "test_size": real(0, 1, closed="left"),
        "val_size": real(0, 1, closed="left") | none,
    }

    @suggests_names
    def __init__(
        self,
        *,
        model_name: str | PathLike[str] = _DEFAULT_ENCODER,
        max_length: int = 128,
        long_text: Literal["truncate", "head_tail", "windows"] = "head_tail",
        batch_size: int = 16,
        epochs: int = 10,
        min_steps_per_epoch: int = 10,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.01,
        warmup_ratio: float = 0.1,
        gradient_accumulation_steps: int = 1,
        gradient_checkpointing: bool = False,
        max_grad_norm: float | None = 1.0,
        test_size: float = 0.1,
        val_size: float | None = None,
    ):
        self.model_name = model_name
        self.max_length = max_length
        self.long_text = long_text
        self.batch_size = batch_size
        self.epochs = epochs
        self.min_steps_per_epoch = min_steps_per_epoch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_ratio = warmup_ratio
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.gradient_checkpointing = gradient_checkpointing
        self.max_grad_norm = max_grad_norm
        self.test_size = test_size
        self.val_size = val_size


class HeadConfig(ParameterGroup):
    """How one task reads the shared text embedding.

    Parameters
    ----------
    hidden_layers : int, default=0
        Hidden layers before the output layer; 0 is a linear head.
    hidden_multiplier : float, default=1.0
        Width of a hidden layer as a multiple of the width of the embedding.
    activation : {"gelu", "relu", "silu", "tanh"}, default="gelu"
        What stands between two layers.
    dropout : float, default=0.2
        Probability, in [0, 1), of dropping a value before the output layer and, in a deeper
        head, before each further hidden layer.
    normalize : bool, default=True
        Whether the head reads the embedding scaled to a root mean square of 1, whatever its size
        [1]_: what a text is about is in the direction.
    init : {"probe", "random"}, default="probe"
        How the output layer starts: as a logistic regression on what it reads from the pretrained
        encoder [2]_, or with random weights.

    See Also
    --------
    MultiheadConfig : All groups together.

    References
    ----------
    .. [1] Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.
    .. [2] Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
       Out-of-Distribution", ICLR 2022.

    Examples
    --------
    >>> from rapidfit_sk import HeadConfig
    >>> HeadConfig(hidden_layers=2, dropout=0.3)
    HeadConfig(dropout=0.3, hidden_layers=2)
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "hidden_layers": integer(0),
        "hidden_multiplier": real(0, closed="neither"),
        "activation": one_of("gelu", "relu", "silu", "tanh"),
        "dropout": real(0, 1, closed="left"),
        "normalize": boolean(),
        "init": one_of("probe", "random"),
    }

    @suggests_names
    def __init__(
        self,
        *,
        hidden_layers: int = 0,
        hidden_multiplier: float = 1.0,
        activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu",
        dropout: float = 0.2,
        normalize: bool = True,
        init: Literal["probe", "random"] = "probe",
    ):
        self.hidden_layers = hidden_layers
        self.hidden_multiplier = hidden_multiplier
        self.activation = activation
        self.dropout = dropout
        self.normalize = normalize
        self.init = init

    def _layout(self) -> dict[str, Any]:
        """Return what says how a head is built, and not how it starts."""
        return {name: value for name, value in self.get_params().items() if name != "init"}


class EncoderConfig(ParameterGroup):
    """When the encoder trains, how much of it, and how fast.

    Parameters
    ----------
    freeze_epochs : int, default=1
        Epochs at the start in which only the heads train. With ``HeadConfig.init="probe"`` they
        start close to their best, and need few.
    unfreeze_layers : int or None, default=4
        Layers at the top of the encoder that train after that; where the encoder has fewer,
        all of its layers do. 0 keeps the encoder as it is, None trains all of it, embeddings
        included.
    lr_multiplier : float, default=0.2
        How much slower the encoder learns than the heads, in (0, 1]: the encoder's peak rate is
        `learning_rate`, that of the heads is ``learning_rate / lr_multiplier``.

    See Also
    --------
    MultiheadConfig : All groups together.

    Notes
    -----
    Heads start from random weights and need large steps; the pretrained layers need small ones.
    With ``learning_rate=1e-5`` and ``lr_multiplier=0.05`` the encoder learns at 1e-5 and the
    heads at 2e-4.

    Examples
    --------
    >>> from rapidfit_sk import EncoderConfig
    >>> EncoderConfig(unfreeze_layers=None)
    EncoderConfig(unfreeze_layers=None)
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "freeze_epochs": integer(0),
        "unfreeze_layers": integer(0) | none,
        "lr_multiplier": real(0, 1, closed="right"),
    }

    @suggests_names
    def __init__(
        self,
        *,
        freeze_epochs: int = 1,
        unfreeze_layers: int | None = 4,
        lr_multiplier: float = 0.2,
    ):
        self.freeze_epochs = freeze_epochs
        self.unfreeze_layers = unfreeze_layers
        self.lr_multiplier = lr_multiplier


class LossConfig(ParameterGroup):
    """What a wrong answer costs.

    Parameters
    ----------
    use_class_weights : bool, default=True
        Whether a row weighs ``n_rows / (n_classes * n_rows_of_its_class)``, so that each class
        has the same say, however rare.
    use_focal_loss : bool, default=False
        Whether rows that the model already gets right count less [1]_.
    focal_gamma : float, default=2.0
        How much less: the loss of a row is multiplied by ``(1 - p) ** focal_gamma`` with p the
        probability of its true class. 0 is plain cross-entropy.
    label_smoothing : float, default=0.0
        Share of the target, in [0, 1), that is spread evenly over all classes.
    task_weights : dict of {str: float} or None, default=None
        Weight of each task in the loss; a task that is not named weighs 1.

    See Also
    --------
    MultiheadConfig : All groups together.

    References
    ----------
    .. [1] Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.

    Examples
    --------
    >>> from rapidfit_sk import LossConfig
    >>> LossConfig(task_weights={"sentiment": 2.0})
    LossConfig(task_weights={'sentiment': 2.0})
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "use_class_weights": boolean(),
        "use_focal_loss": boolean(),
        "focal_gamma": real(0),
        "label_smoothing": real(0, 1, closed="left"),
        "task_weights": mapping_to(real(0)) | none,
    }

    @suggests_names
    def __init__(
        self,
        *,
        use_class_weights: bool = True,
        use_focal_loss: bool = False,
        focal_gamma: float = 2.0,
        label_smoothing: float = 0.0,
        task_weights: dict[str, float] | None = None,
    ):
        self.use_class_weights = use_class_weights
        self.use_focal_loss = use_focal_loss
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.task_weights = task_weights


class EvalConfig(ParameterGroup):
    """Which epoch was the best, and when to stop.

    Parameters
    ----------
    metric : {"accuracy", "f1", "loss"}, default="accuracy"
        What is measured on the validation rows. Accuracy and macro-averaged F1 are computed
        for each task and averaged over tasks.
    patience : int or None, default=None
        Epochs without improvement after which training stops; None to train all epochs, at whose
        end the learning rate is low and the model best, in most cases. Epochs in which only the
        heads train are not counted.
    min_delta : float, default=0.001
        How much better the metric must become to count as an improvement.
    one_se_rule : bool, default=True
        Whether a later epoch is preferred to the best one if its accuracy or F1 is lower by no
        more than the standard error [2]_, so that chance among few validation rows does not
        choose a model that has hardly trained. With False the best weights are those of the best
        epoch, by however little.
    calibrate : bool, default=True
        Whether the logits of each task are divided by a temperature that makes the probabilities
        of the validation rows likely [1]_. Tasks of few such rows lean on the temperature that
        all tasks have in common. Labels stay as they are. Small data that keeps no
        validation rows (see `val_size` of :class:`TrainingConfig`) is trained on once more for
        this, without a quarter of its rows: with False, such a fit takes half the time.

    See Also
    --------
    MultiheadConfig : All groups together.

    References
    ----------
    .. [1] Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    .. [2] Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3.

    Examples
    --------
    >>> from rapidfit_sk import EvalConfig
    >>> EvalConfig(metric="f1", patience=2)
    EvalConfig(metric='f1', patience=2)
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "metric": one_of("accuracy", "f1", "loss"),
        "patience": integer(1) | none,
        "min_delta": real(0),
        "one_se_rule": boolean(),
        "calibrate": boolean(),
    }

    @suggests_names
    def __init__(
        self,
        *,
        metric: Literal["accuracy", "f1", "loss"] = "accuracy",
        patience: int | None = None,
        min_delta: float = 0.001,
        one_se_rule: bool = True,
        calibrate: bool = True,
    ):
        self.metric = metric
        self.patience = patience
        self.min_delta = min_delta
        self.one_se_rule = one_se_rule
        self.calibrate = calibrate


class MultiheadConfig(ParameterGroup):
    """All that can be tuned of a :class:`~rapidfit_sk.MultiheadClassifier`, in groups.

    Parameters
    ----------
    training : TrainingConfig or None, default=None
        How to train. None stands for the defaults, here and below.
    head : HeadConfig or None, default=None
        The architecture of a head.
    encoder : EncoderConfig or None, default=None
        How the encoder is fine-tuned.
    loss : LossConfig or None, default=None
        The loss function.
    eval : EvalConfig or None, default=None
        Model selection and early stopping.
    pooling : {"attention", "mean", "cls", "max"}, default="attention"
        How the token embeddings of a text become one: their mean, the first of them, or the
        largest value of each dimension. With "attention" it is a weighted mean, and each task
        learns the weights [1]_: what one looks for does not blur what another one reads. It
        starts as the mean and is learned from when the encoder trains; heads that train alone on
        a pretrained encoder read the mean. Padding never has a say.
    task_sampling : {"proportional", "sqrt", "equal"}, default="proportional"
        How many rows of each task an epoch draws: every row once, in proportion to the square
        root of the task's size, or the same number for each task. An epoch always has as many
        rows as the training data.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier : The classifier that reads it.

    References
    ----------
    .. [1] Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL
       2016: a learned vector is compared with each word.

    Examples
    --------
    >>> from rapidfit_sk import HeadConfig, MultiheadConfig
    >>> config = MultiheadConfig(head=HeadConfig(dropout=0.3), pooling="cls")
    >>> config.get_params()["head__dropout"]
    0.3
    >>> config.set_params(encoder__unfreeze_layers=6).encoder
    EncoderConfig(unfreeze_layers=6)
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "training": instance_of(TrainingConfig) | none,
        "head": instance_of(HeadConfig) | none,
        "encoder": instance_of(EncoderConfig) | none,
        "loss": instance_of(LossConfig) | none,
        "eval": instance_of(EvalConfig) | none,
        "pooling": one_of("attention", "mean", "cls", "max"),
        "task_sampling": one_of("proportional", "sqrt", "equal"),
    }
    _groups: ClassVar[dict[str, type[ParameterGroup]]] = {
        "training": TrainingConfig,
        "head": HeadConfig,
        "encoder": EncoderConfig,
        "loss": LossConfig,
        "eval": EvalConfig,
    }

    @suggests_names
    def __init__(
        self,
        *,
        training: TrainingConfig | None = None,
        head: HeadConfig | None = None,
        encoder: EncoderConfig | None = None,
        loss: LossConfig | None = None,
        eval: EvalConfig | None = None,
        pooling: Literal["attention", "mean", "cls", "max"] = "attention",
        task_sampling: Literal["proportional", "sqrt", "equal"] = "proportional",
    ):
        self.training = training
        self.head = head
        self.encoder = encoder
        self.loss = loss
        self.eval = eval
        self.pooling = pooling
        self.task_sampling = task_sampling

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from plain nested dicts.

        Parameters
        ----------
        values : dict
            ``{"training": {"epochs": 5}, "pooling": "cls"}`` and the like. What is left out
            has its default.

        Returns
        -------
        config : MultiheadConfig
            The configuration.

        Raises
        ------
        ValueError
            If a key does not exist; the message suggests the nearest, or the group it is in.
        TypeError
            If `values` or one of its groups is not a dict.

        Examples
        --------
        >>> from rapidfit_sk import MultiheadConfig
        >>> MultiheadConfig.from_dict({"training": {"epochs": 5}})
        MultiheadConfig(training=TrainingConfig(epochs=5))
        """
        _check_mapping("from_dict", values)
        groups = {}
        for key, value in copy.deepcopy(values).items():
            _check_key(cls, key)
            groups[key] = _group_from(cls._groups[key], value) if key in cls._groups else value
        return cls(**groups)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain nested dicts, defaults included.

        Returns
        -------
        values : dict
            What :meth:`from_dict` reads back to an equal configuration.

        Examples
        --------
        >>> from rapidfit_sk import MultiheadConfig
        >>> MultiheadConfig().to_dict()["head"]["dropout"]
        0.2
        """
        values = self.get_params(deep=False)
        for name, group in self._groups.items():
            values[name] = (values[name] or group()).get_params(deep=False)
        values["training"]["model_name"] = fspath(values["training"]["model_name"])
        return copy.deepcopy(values)


class FullConfig(Protocol):
    """A :class:`MultiheadConfig` that was checked, and in which no group is None."""

    training: TrainingConfig
    head: HeadConfig
    encoder: EncoderConfig
    loss: LossConfig
    eval: EvalConfig
    pooling: Literal["attention", "mean", "cls", "max"]
    task_sampling: Literal["proportional", "sqrt", "equal"]


def _check_mapping(name, values):
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} takes a dict, got {values!r} ({type(values).__name__}).")


def _check_key(config, key):
    """Refuse a key that is no parameter; where a group has one of that name, say which."""
    known = config().get_params(deep=False)
    if key in known:
        return
    homes = [name for name, group in config._groups.items() if key in group().get_params()]
    hint = f" It belongs into {homes[0]!r}." if homes else suggestion(key, known)
    raise ValueError(
        f"{config.__name__} has no parameter {key!r}.{hint} Its parameters are: {', '.join(known)}."
    )


def _group_from(group, values):
    if values is None or isinstance(values, group):
        return values
    _check_mapping(group.__name__, values)
    check_names(group.__name__, values, group().get_params())
    return group(**values)
