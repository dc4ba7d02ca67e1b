"""`MultiheadConfig` and its groups of parameters, with the parameter interface of scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, ClassVar, Literal, Protocol, Self

from ._parameters import ConfigGroup, ParameterGroup, check_mapping, copied, group_from
from ._validation import (
    LARGEST_INT,
    Constraint,
    InvalidParameterError,
    boolean,
    check_parameters,
    instance_of,
    integer,
    mapping_to,
    none,
    one_of,
    path,
    real,
    suggests_names,
)

__all__ = [
    "EncoderConfig",
    "EvalConfig",
    "HeadConfig",
    "LossConfig",
    "MultiheadConfig",
    "TrainingConfig",
]


# Maximum number of texts that small data is repeated to in an epoch. Their row numbers take 0.8 GB.
_LARGEST_EPOCH = 10**8

_DEFAULT_ENCODER = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"


class TrainingConfig(ConfigGroup):
    """Parameters of the encoder, the batches, the training schedule and the splits.

    Parameters
    ----------
    model_name : str or path-like, default="sentence-transformers/paraphrase-multilingual-..."
        Folder of the encoder, or its name on the Hugging Face hub. The default is
        ``"sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"``. See
        :func:`rapidfit_sk.find_encoder` for the places that are searched.
    max_length : int or None, default=None
        Maximum number of tokens that the encoder reads at once, including special tokens. None
        means 128, or the longest input of the encoder if it is shorter.
    long_text : {"truncate", "head_tail", "windows"}, default="head_tail"
        Method for texts with more than `max_length` tokens. "truncate" keeps the beginning of
        the text. "head_tail" keeps the beginning and the end, with half of `max_length` each
        [1]_. "windows" splits the whole text into windows of equal length and averages their
        embeddings. The windows of a text share a batch, so time and memory grow with the longest
        text. `gradient_checkpointing` reduces the memory in training.
    batch_size : int, default=16
        Number of distinct texts in a batch. A batch contains the rows of its texts for all tasks.
    epochs : int, default=10
        Number of fine-tuning epochs, in which the heads and the unfrozen layers of the encoder
        train. They follow the `freeze_epochs` of :class:`EncoderConfig`.
    min_steps_per_epoch : int, default=10
        Minimum number of optimizer steps in an epoch. If one pass over the rows takes fewer
        steps, for example with a hundred texts, an epoch makes several passes. `partial_fit`
        always makes one pass.
    learning_rate : float, default=1e-4
        Peak learning rate of the encoder. The peak rate of the heads is
        ``learning_rate / lr_multiplier``, see :class:`EncoderConfig`. The rates change at each
        step: they first rise linearly and then fall along a cosine.
    weight_decay : float, default=0.01
        Decoupled weight decay (AdamW) of weight matrices. It does not apply to biases and
        normalization weights.
    warmup_ratio : float, default=0.1
        Share of the steps, in [0, 1), during which the learning rate rises.
    gradient_accumulation_steps : int, default=1
        Number of batches whose gradients are accumulated for one optimizer step. The step is the
        same as with one batch of ``batch_size * gradient_accumulation_steps`` texts.
    gradient_checkpointing : bool, default=False
        Whether trainable layers store only their input and recompute their activations in the
        backward pass [2]_. The trained model is the same. Training takes about a third longer,
        but needs much less memory for long texts and large batches.
    max_grad_norm : float or None, default=1.0
        Maximum norm of the accumulated gradient. A larger gradient is scaled down. None means no
        limit.
    test_size : float or None, default=None
        Share of the rows of each task, in [0, 1), that is held out for `test_scores_`. None means
        0.1 in :class:`MultiheadClassifier` and 0 in :class:`TextClassifier`, because tools that fit
        a classifier of one task hold rows out themselves. With a `split_column`, None means 0.
    val_size : float or None, default=None
        Share of the rows other than the test rows, in [0, 1), that is held out for validation.
        Validation rows choose the best epoch and calibrate the probabilities. With None, the
        share is 0.1 if at least 2000 rows remain besides the test rows, or if `patience` or a
        `metric` other than "accuracy" is set in :class:`EvalConfig`. Otherwise, it is 0, because
        small data is more useful for training, and a calibration fit on three quarters of the rows
        runs first.

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
        "model_name": path(),
        "max_length": integer(2, LARGEST_INT) | none,
        "long_text": one_of("truncate", "head_tail", "windows"),
        "batch_size": integer(1, LARGEST_INT),
        "epochs": integer(0, LARGEST_INT),
        "min_steps_per_epoch": integer(1, LARGEST_INT),
        "learning_rate": real(0, closed="neither"),
        "weight_decay": real(0),
        "warmup_ratio": real(0, 1, closed="left"),
        "gradient_accumulation_steps": integer(1, LARGEST_INT),
        "gradient_checkpointing": boolean(),
        "max_grad_norm": real(0, closed="neither") | none,
        "test_size": real(0, 1, closed="left") | none,
        "val_size": real(0, 1, closed="left") | none,
    }

    @suggests_names
    def __init__(
        self,
        *,
        model_name: str | PathLike[str] = _DEFAULT_ENCODER,
        max_length: int | None = None,
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
        test_size: float | None = None,
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

    def _filled(self):
        """Check the parameters, also together, and return a copy."""
        filled = super()._filled()
        sizes = self.min_steps_per_epoch - 1, self.batch_size, self.gradient_accumulation_steps
        n_texts = math.prod(map(int, sizes))
        if n_texts > _LARGEST_EPOCH:
            raise InvalidParameterError(
                f"An epoch would have more than {n_texts} texts, because it has at least "
                "'min_steps_per_epoch' steps of 'batch_size' times 'gradient_accumulation_steps' "
                f"texts. Reduce one of these parameters of TrainingConfig. The product can be at "
                f"most {_LARGEST_EPOCH}."
            )
        return filled


class HeadConfig(ConfigGroup):
    """Architecture and initialization of the heads.

    Parameters
    ----------
    hidden_layers : int, default=0
        Number of hidden layers before the output layer, up to 100. With 0, the head is linear.
    hidden_multiplier : float, default=1.0
        Width of a hidden layer as a multiple of the width of the embedding, in (0, 100].
    activation : {"gelu", "relu", "silu", "tanh"}, default="gelu"
        Activation function after each hidden layer.
    dropout : float, default=0.2
        Dropout probability, in [0, 1), before the output layer and between hidden layers.
    normalize : bool, default=True
        Whether the head scales the embedding to a root mean square of 1 [1]_. The direction of an
        embedding carries its meaning, while its norm depends on the encoder.
    init : {"probe", "random"}, default="probe"
        Initial weights of the output layer. "probe" uses the weights of a logistic regression on
        the embeddings of the pretrained encoder [2]_. "random" draws the weights at random.

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
        "hidden_layers": integer(0, 100),
        "hidden_multiplier": real(0, 100, closed="right"),
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
        """Return the parameters that determine the layers of a head, without `init`."""
        return {name: value for name, value in self.get_params().items() if name != "init"}


class EncoderConfig(ConfigGroup):
    """Parameters of the fine-tuning of the encoder.

    Parameters
    ----------
    freeze_epochs : int, default=1
        Number of head-only epochs at the start, in which the whole encoder is frozen. With
        ``HeadConfig.init="probe"``, heads start close to their optimum and need few such epochs.
    unfreeze_layers : int or None, default=4
        Number of top layers of the encoder that train after the head-only epochs. If the encoder
        has fewer layers, all of them train. With 0, the encoder never trains. With None, the whole
        encoder trains, including its embedding layer.
    lr_multiplier : float, default=0.2
        Ratio of the learning rate of the encoder to the learning rate of the heads, in (0, 1]. The
        peak rate of the encoder is `learning_rate`, and the peak rate of the heads is
        ``learning_rate / lr_multiplier``.
    adapter : {"lora"} or None, default=None
        What trains in the unfrozen layers. With None, their weights train. With "lora", two small
        matrices train for each weight matrix, and their product is added to the weight matrix at
        the end of the training [1]_. This takes far less memory, so all layers of a large encoder
        can train. Biases, normalization weights and token embeddings do not change.
        "lora" needs the package peft: ``pip install "rapidfit-sk[peft]"``.

    See Also
    --------
    MultiheadConfig : All groups together.

    Notes
    -----
    The heads are new and can take larger steps than the pretrained layers. For example, with
    ``learning_rate=1e-5`` and ``lr_multiplier=0.05``, the encoder trains at 1e-5 and the heads at
    2e-4.

    References
    ----------
    .. [1] Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.

    Examples
    --------
    >>> from rapidfit_sk import EncoderConfig
    >>> EncoderConfig(unfreeze_layers=None)
    EncoderConfig(unfreeze_layers=None)
    """

    _constraints: ClassVar[dict[str, Constraint]] = {
        "freeze_epochs": integer(0, LARGEST_INT),
        "unfreeze_layers": integer(0, LARGEST_INT) | none,
        "lr_multiplier": real(0, 1, closed="right"),
        "adapter": one_of("lora") | none,
    }

    @suggests_names
    def __init__(
        self,
        *,
        freeze_epochs: int = 1,
        unfreeze_layers: int | None = 4,
        lr_multiplier: float = 0.2,
        adapter: Literal["lora"] | None = None,
    ):
        self.freeze_epochs = freeze_epochs
        self.unfreeze_layers = unfreeze_layers
        self.lr_multiplier = lr_multiplier
        self.adapter = adapter


class LossConfig(ConfigGroup):
    """Parameters of the loss function.

    Parameters
    ----------
    use_class_weights : bool, default=True
        Whether to weight each row by ``n_rows / (n_classes * n_rows_of_its_class)``, so all classes
        of a task have the same total weight.
    use_focal_loss : bool, default=False
        Whether to reduce the loss of rows that the model already predicts well [1]_.
    focal_gamma : float, default=2.0
        Strength of the focal loss. The loss of a row is multiplied by ``(1 - p) ** focal_gamma``,
        where p is the probability of its true class. With 0, the loss is the cross-entropy.
    label_smoothing : float, default=0.0
        Share of the target probability, in [0, 1), that is spread evenly over all classes.
    task_weights : dict of {str: float} or None, default=None
        Weights of tasks in the loss. Tasks that are not in the dict have weight 1.

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


class EvalConfig(ConfigGroup):
    """Parameters of early stopping, the choice of the best epoch, and calibration.

    Parameters
    ----------
    metric : {"accuracy", "f1", "loss"}, default="accuracy"
        Metric on the validation rows that determines the best epoch. Accuracy and macro-averaged F1
        are computed for each task and averaged over tasks. With "f1" or "loss", small data has
        validation rows, too (see `val_size` of :class:`TrainingConfig`).
    patience : int or None, default=None
        Number of fine-tuning epochs without improvement after which training stops. With None, all
        epochs run. The last ones have the lowest learning rate and are usually the best.
    min_delta : float, default=0.001
        Minimum change of the metric that counts as an improvement.
    one_se_rule : bool, default=True
        Whether to prefer a later epoch over the one with the best accuracy or F1 if the scores
        differ by at most the standard error [2]_. With few validation rows, such epochs cannot be
        distinguished, and the later one has trained longer. With False, the best epoch is the one
        with the best metric.
    calibrate : bool, default=True
        Whether to fit a temperature for each task that maximizes the likelihood of the labels of
        the calibration rows [1]_. `predict_proba` divides the logits by this temperature, which
        does not change the predicted labels. The fewer calibration rows a task has, the closer its
        temperature is to the common temperature of all tasks. Small data without validation rows
        (see `val_size` of :class:`TrainingConfig`) needs a calibration fit on three quarters of the
        rows. With False, this additional training is skipped, so `fit` takes half the time.

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
        "patience": integer(1, LARGEST_INT) | none,
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


class MultiheadConfig(ConfigGroup):
    """Configuration of a :class:`~rapidfit_sk.MultiheadClassifier`, in groups of parameters.

    Parameters
    ----------
    training : TrainingConfig or None, default=None
        Encoder, batches, training schedule and splits. For each group, None means its defaults.
    head : HeadConfig or None, default=None
        Architecture and initialization of the heads.
    encoder : EncoderConfig or None, default=None
        Fine-tuning of the encoder.
    loss : LossConfig or None, default=None
        Loss function.
    eval : EvalConfig or None, default=None
        Early stopping, choice of the best epoch, and calibration.
    pooling : {"attention", "mean", "cls", "max"}, default="attention"
        Method that combines the vectors of the tokens of a text into its embedding. "mean" is the
        mean of the vectors, "cls" is the vector of the first token, and "max" is the maximum of
        each dimension. "attention" is a weighted mean with weights that each task learns [1]_, so
        tasks can use different tokens. All tokens start with the same weight, and the weights
        change only while the encoder trains, so head-only epochs use the mean. Padding is ignored.
        Causal encoders such as GPT-2 do not support "cls", because their first token does not
        attend to the rest of the text.
    task_sampling : {"proportional", "sqrt", "equal"}, default="proportional"
        Number of rows of each task in an epoch. "proportional" draws every row once. "sqrt" draws
        rows in proportion to the square root of the number of rows of a task. "equal" draws the
        same number of rows for each task. The size of an epoch is the same for all three.

    See Also
    --------
    rapidfit_sk.MultiheadClassifier : The classifier that uses the configuration.

    Notes
    -----
    Two configurations are equal if all their parameters are equal. A group that is None equals a
    group of its defaults. Configurations can change, so they have no hash.

    References
    ----------
    .. [1] Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL 2016.

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
            Parameters and groups by name, for example
            ``{"training": {"epochs": 5}, "pooling": "cls"}``. Omitted parameters have their
            defaults.

        Returns
        -------
        config : MultiheadConfig
            The configuration.

        Raises
        ------
        ValueError
            If a key is unknown. The message suggests the closest parameter or the right group.
        TypeError
            If `values` or one of its groups is not a dict.

        Examples
        --------
        >>> from rapidfit_sk import MultiheadConfig
        >>> MultiheadConfig.from_dict({"training": {"epochs": 5}})
        MultiheadConfig(training=TrainingConfig(epochs=5))
        """
        check_mapping("from_dict", values)
        return group_from(cls, values)

    @classmethod
    def guide(cls) -> Self:
        """Return the defaults of RapidFit's guide to multihead classification.

        Features that the guide does not describe are turned off.

        Returns
        -------
        config : MultiheadConfig
            Mean pooling; heads with one hidden layer and random initial weights; three head-only
            epochs and ten fine-tuning epochs at a learning rate of 2e-5 with a multiplier of 0.1;
            label smoothing of 0.1; a patience of three epochs; a tenth of the rows for testing
            and a tenth of the rest for validation.

        References
        ----------
        "How the Multihead Classifier Works", the guide of the package RapidFit. The page "From
        the guide" of the documentation compares its defaults with the defaults of this package.

        Examples
        --------
        >>> from rapidfit_sk import MultiheadClassifier, MultiheadConfig
        >>> MultiheadConfig.guide().pooling
        'mean'
        >>> classifier = MultiheadClassifier(MultiheadConfig.guide())
        """
        return cls(
            training=TrainingConfig(
                batch_size=16,
                epochs=10,
                learning_rate=2e-5,
                test_size=0.1,
                val_size=0.1,
                long_text="truncate",
                min_steps_per_epoch=1,
            ),
            head=HeadConfig(hidden_layers=1, init="random", normalize=False),
            encoder=EncoderConfig(freeze_epochs=3, unfreeze_layers=4, lr_multiplier=0.1),
            loss=LossConfig(use_class_weights=True, label_smoothing=0.1),
            eval=EvalConfig(metric="accuracy", patience=3, one_se_rule=False, calibrate=False),
            pooling="mean",
            task_sampling="proportional",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain nested dicts, including defaults.

        Returns
        -------
        values : dict
            Nested dicts from which :meth:`from_dict` builds an equal configuration. A classifier
            also takes them as its `config`.

        Raises
        ------
        ValueError
            If a group is neither None nor an instance of its class.

        Examples
        --------
        >>> from rapidfit_sk import MultiheadConfig
        >>> MultiheadConfig().to_dict()["head"]["dropout"]
        0.2
        """
        check_parameters(self, {name: self._constraints[name] for name in self._groups})
        values = self.get_params(deep=False)
        for name, group in self._groups.items():
            values[name] = copied((values[name] or group()).get_params(deep=False))
        if isinstance(values["training"]["model_name"], PathLike):
            values["training"]["model_name"] = fspath(values["training"]["model_name"])
        return values


class FullConfig(Protocol):
    """A :class:`MultiheadConfig` with checked parameters, in which no group is None."""

    training: TrainingConfig
    head: HeadConfig
    encoder: EncoderConfig
    loss: LossConfig
    eval: EvalConfig
    pooling: Literal["attention", "mean", "cls", "max"]
    task_sampling: Literal["proportional", "sqrt", "equal"]
