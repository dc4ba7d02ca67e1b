"""Rows as plain data: read them, code them, split them, score them; nothing here knows torch."""

from .calibration import fit_temperatures, probabilities
from .labels import (
    CodedRows,
    encode_labels,
    encode_table,
    encode_tasks,
    learn_classes,
    warn_of_contradictions,
)
from .metrics import mean_over_tasks, scores_per_task, standard_error
from .splits import Split, deal_out, hold_out, split_rows, tasks_without
from .tables import (
    Columns,
    as_pandas,
    column_values,
    columns_read,
    distinct_texts,
    has_task_names,
    is_long,
    named_labels,
    read_labeled,
    read_questions,
    read_texts,
)

__all__ = [
    "CodedRows",
    "Columns",
    "Split",
    "as_pandas",
    "column_values",
    "columns_read",
    "deal_out",
    "distinct_texts",
    "encode_labels",
    "encode_table",
    "encode_tasks",
    "fit_temperatures",
    "has_task_names",
    "hold_out",
    "is_long",
    "learn_classes",
    "mean_over_tasks",
    "named_labels",
    "probabilities",
    "read_labeled",
    "read_questions",
    "read_texts",
    "scores_per_task",
    "split_rows",
    "standard_error",
    "tasks_without",
    "warn_of_contradictions",
]
