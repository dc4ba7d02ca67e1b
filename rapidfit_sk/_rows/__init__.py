"""Torch-free modules for tables, texts, labels, splits, metrics, calibration and thresholds."""

from .calibration import fit_temperatures, log_probabilities, probabilities
from .given_splits import GivenPart
from .label_texts import (
    LABEL_TEXTS,
    LABEL_TEXTS_OF_TASK,
    LabelTexts,
)
from .labels import (
    CodedRows,
    encode_labels,
    encode_table,
    encode_tasks,
    learn_classes,
    warn_of_contradictions,
)
from .metrics import mean_over_tasks, score_table, scores_per_task, standard_error, wilson_interval
from .one_task import OneTaskReader
from .reader import Reader, TrainingRows
from .splits import Split, assign_folds, hold_out, split_rows, tasks_without
from .tables import (
    Columns,
    LabeledTable,
    as_pandas,
    features_read,
    gaps,
    is_long,
    labels_by_task,
    read_labeled,
    read_texts,
    read_unlabeled,
)
from .texts import Texts
from .thresholds import (
    TARGET_OF_TASK,
    Target,
    confidences,
    confident_codes,
)
from .values import exact_array, parameter_labels, plain_label

__all__ = [
    "LABEL_TEXTS",
    "LABEL_TEXTS_OF_TASK",
    "TARGET_OF_TASK",
    "CodedRows",
    "Columns",
    "GivenPart",
    "LabelTexts",
    "LabeledTable",
    "OneTaskReader",
    "Reader",
    "Split",
    "Target",
    "Texts",
    "TrainingRows",
    "as_pandas",
    "assign_folds",
    "confidences",
    "confident_codes",
    "encode_labels",
    "encode_table",
    "encode_tasks",
    "exact_array",
    "features_read",
    "fit_temperatures",
    "gaps",
    "hold_out",
    "is_long",
    "labels_by_task",
    "learn_classes",
    "log_probabilities",
    "mean_over_tasks",
    "parameter_labels",
    "plain_label",
    "probabilities",
    "read_labeled",
    "read_texts",
    "read_unlabeled",
    "score_table",
    "scores_per_task",
    "split_rows",
    "standard_error",
    "tasks_without",
    "warn_of_contradictions",
    "wilson_interval",
]
