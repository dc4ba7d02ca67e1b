"""Eleven fits that cover all input forms, compared with recorded results.

``python -m tests.test_characterization`` records them again, in
``tests/data/characterization.json``. Do this only for a change that is meant to change results,
and give the reason in the commit message.
"""

import contextlib
import hashlib
import json
import platform
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.model_selection import GridSearchCV

from rapidfit_sk import (
    EncoderConfig,
    EvalConfig,
    HeadConfig,
    LossConfig,
    MultiheadClassifier,
    MultiheadConfig,
    TrainingConfig,
)
from rapidfit_sk.datasets import load_support_messages
from rapidfit_sk.model_selection import TaskStratifiedKFold, multitask_scoring
from rapidfit_sk.testing import tiny_encoder

RECORD = Path(__file__).parent / "data" / "characterization.json"


@contextlib.contextmanager
def one_thread():
    """Compute in one thread, because two threads add numbers in another order."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def rounding_of_this_processor():
    """Hash results of typical computations, because libraries choose kernels by processor."""
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    with one_thread():
        for n, k, m in [(3, 32, 32), (40, 32, 64), (200, 64, 32), (16, 32, 5), (500, 384, 77)]:
            a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((n, k), (k, m)))
            product = torch.from_numpy(a) @ torch.from_numpy(b)
            normed = torch.nn.functional.layer_norm(torch.nn.functional.gelu(product), (m,))
            for result in (product, normed.softmax(-1), normed.log_softmax(-1).exp().sum()):
                digest.update(result.numpy().tobytes())
            digest.update((a.astype(float) @ b.astype(float)).tobytes())
    return digest.hexdigest()[:16]


# The bits of results depend on these. If one differs, results are compared up to a tolerance.
PLACE = {
    "machine": platform.machine(),
    "capability": torch.backends.cpu.get_cpu_capability(),
    "rounding": rounding_of_this_processor(),
    **{name: version(name) for name in ("numpy", "scikit-learn", "scipy", "torch", "transformers")},
}


def encoder_with_numpy_weights():
    """Write a tiny encoder whose weights do not depend on the version of torch or transformers."""
    folder = tiny_encoder(n_layers=3)
    path = Path(folder) / "model.safetensors"
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(1.0 if "LayerNorm.weight" in name else 0.0, 0.1, array.shape)
        for name, array in sorted(load_file(path).items())
    }
    save_file({k: v.astype(np.float32) for k, v in weights.items()}, path, {"format": "pt"})
    return folder


def configuration(encoder, **parameters):
    config = MultiheadConfig(
        training=TrainingConfig(
            model_name=encoder, epochs=2, learning_rate=1e-3, min_steps_per_epoch=4
        ),
        encoder=EncoderConfig(freeze_epochs=1, unfreeze_layers=2),
    )
    return config.set_params(**parameters)


# --------------------------------------------------------------------------------------------
# The fits. Each function takes the encoder and a folder, and returns a fitted classifier.


def few_rows(encoder, folder):
    """Fit a long frame without validation rows, so a calibration fit runs first."""
    messages = load_support_messages()
    return MultiheadClassifier(configuration(encoder), random_state=0, label_texts=None).fit(
        messages[:240]
    )


def many_rows(encoder, folder):
    """Fit texts with one column of labels, enough rows to hold out a tenth for validation."""
    texts, labels = [], []
    for row in load_support_messages().query("task == 'intent'").itertuples():
        for end in (
            "",
            " Thanks",
            " Please answer",
            " Hello?",
            " Bye",
            " I wait",
            " Now",
            " Today",
        ):
            texts.append(row.text + end)
            labels.append(row.label)
    config = configuration(encoder, training__epochs=1, training__batch_size=64)
    return MultiheadClassifier(config, random_state=1, label_texts=None).fit(texts, labels)


def guide_dict(encoder, folder):
    """Fit the dict of the guide, with patience, label smoothing, hidden layers and mean pooling."""
    messages = load_support_messages()
    data = {
        task: rows[["text", "label"]].to_dict("records")[:60]
        for task, rows in messages.groupby("task", sort=False)
    }
    config = configuration(
        encoder,
        training__epochs=4,
        training__val_size=0.2,
        pooling="mean",
        task_sampling="sqrt",
        head=HeadConfig(hidden_layers=1, init="random", normalize=False),
        loss=LossConfig(label_smoothing=0.1, use_class_weights=True),
        eval=EvalConfig(patience=1, metric="f1"),
    )
    return MultiheadClassifier(config, random_state=2, label_texts=None).train(data)


def wide_with_weights(encoder, folder):
    """Fit texts with one column of labels per task, with gaps and weights, some of them 0."""
    messages = load_support_messages()
    wide = messages.pivot(index="text", columns="task", values="label")[:120]
    labels = wide[["intent", "emotion"]].assign(angry=(wide["emotion"] == "angry").astype(int))
    weights = np.tile([0.0, 0.5, 1.0, 2.0, 1.5], 24)
    config = configuration(encoder, task_sampling="equal", loss=LossConfig(use_focal_loss=True))
    return MultiheadClassifier(config, random_state=3, label_texts=None).fit(
        list(wide.index), labels, weights
    )


def given_validation(encoder, folder):
    """Fit a frame and y with given validation rows, all layers and gradient accumulation."""
    messages = load_support_messages()
    train, rest = messages[:300], messages[300:360]
    X = pd.DataFrame({"doc": train["text"], "topic": train["task"]})
    X_val = pd.DataFrame({"doc": rest["text"], "topic": rest["task"]})
    config = configuration(
        encoder,
        training__gradient_accumulation_steps=2,
        training__batch_size=8,
        encoder__unfreeze_layers=None,
    )
    classifier = MultiheadClassifier(
        config, text_column="doc", task_column="topic", random_state=4, label_texts=None
    )
    return classifier.fit(X, train["label"], X_val=X_val, y_val=rest["label"])


def task_added(encoder, folder):
    """Add two tasks to a fitted classifier: with a calibration fit, then with validation rows."""
    messages = load_support_messages()
    classifier = few_rows(encoder, folder)
    rows = messages.query("task == 'intent'")[:90]
    classifier.add_task(rows["text"], rows["label"], task="purpose")
    classifier.set_params(config__training__val_size=0.2)
    long = messages.query("task == 'emotion'").assign(task="mood")
    return classifier.add_task(long, sample_weight=np.linspace(0.5, 2, len(long)))


def grown_in_part(encoder, folder):
    """Call partial_fit three times; the second call adds a label, the third adds tasks."""
    messages = load_support_messages()
    classifier = MultiheadClassifier(configuration(encoder), random_state=5, label_texts=None)
    intent = messages.query("task == 'intent'")
    classifier.partial_fit(intent.query("label != 'sell'")[:80])
    classifier.partial_fit(intent[100:180])
    return classifier.partial_fit(messages[400:480])


def warm_start(encoder, folder):
    """Fit again from the weights of a first fit, with an additional task."""
    messages = load_support_messages()
    config = configuration(encoder, training__val_size=0.2)
    classifier = MultiheadClassifier(config, random_state=6, label_texts=None, warm_start=True)
    classifier.fit(messages.query("task != 'emotion'")[:150])
    return classifier.fit(messages[:200])


def search_with_memory(encoder, folder):
    """Search by the default score, with an embedding cache."""
    return best_of_search(encoder, {"memory": folder}, None, True)


def search_by_scores_per_task(encoder, folder):
    """Search by several scores per task, and refit by the mean of one of them."""
    scoring = multitask_scoring(["sentiment", "intent"], ["accuracy", "neg_log_loss"])
    return best_of_search(encoder, {}, scoring, "mean_neg_log_loss")


def search_by_scores_with_memory(encoder, folder):
    """Run the same search with an embedding cache, which the scorers use, too."""
    scoring = multitask_scoring(["sentiment", "intent"], ["accuracy", "neg_log_loss"])
    return best_of_search(encoder, {"memory": folder}, scoring, "mean_neg_log_loss")


def best_of_search(encoder, parameters, scoring, refit):
    config = configuration(encoder, training__test_size=0, encoder__unfreeze_layers=0)
    search = GridSearchCV(
        MultiheadClassifier(config, random_state=7, label_texts=None, **parameters),
        {"config__head__dropout": [0.1, 0.4]},
        cv=TaskStratifiedKFold(2),
        scoring=scoring,
        refit=refit,
    ).fit(load_support_messages()[:200])
    best = search.best_estimator_
    best.scores_of_search = {
        name: values.tolist()
        for name, values in search.cv_results_.items()
        if "_test_" in name and "rank" not in name
    }
    return best


FITS = [
    few_rows,
    many_rows,
    guide_dict,
    wide_with_weights,
    given_validation,
    task_added,
    grown_in_part,
    warm_start,
    search_with_memory,
    search_by_scores_per_task,
    search_by_scores_with_memory,
]

# Recorded when scorers ran the encoder again. They now use cached embeddings, which were computed
# in other batches and may differ in the last bits.
CLOSE = {search_by_scores_with_memory}

# --------------------------------------------------------------------------------------------
# Recorded results


def describe(fit, encoder, folder):
    """Run a fit and return its results as plain data."""
    with warnings.catch_warnings(record=True) as caught, one_thread():
        warnings.simplefilter("always")
        classifier = fit(encoder, folder)
        return results_of(classifier, caught)


NOT_RECORDED = ("dur", "batches", "trains_encoder", "kept")


def results_of(classifier, caught):
    texts = load_support_messages()["text"].unique()[::30].tolist()
    history = [
        {key: value for key, value in epoch.items() if key not in NOT_RECORDED}
        for epoch in classifier.net_.history
    ]
    described = {
        # Only UserWarnings count: warnings of other libraries differ between their versions.
        "warnings": sum(issubclass(each.category, UserWarning) for each in caught),
        "tasks": classifier.tasks_,
        "classes": {task: values.tolist() for task, values in classifier.classes_.items()},
        "temperatures": classifier.temperatures_,
        "train_indices": classifier.train_indices_.tolist(),
        "val_indices": classifier.val_indices_.tolist(),
        "test_indices": classifier.test_indices_.tolist(),
        "test_scores": classifier.test_scores_,
        "history": history,
        "labels": {task: classifier[task].predict(texts).tolist() for task in classifier.tasks_},
        "probabilities": {
            task: classifier[task].predict_proba(texts).tolist() for task in classifier.tasks_
        },
        "scores_of_search": getattr(classifier, "scores_of_search", None),
    }
    return json.loads(json.dumps(described, default=lambda value: value.item()))


def differences(expected, found, at=""):
    """Yield a line for each difference between two descriptions."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted({*expected, *found}):
            yield from differences(expected.get(key), found.get(key), f"{at}/{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for i, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{at}/{i}")
    elif not (expected == found or (expected != expected and found != found)):
        yield f"{at}: {expected!r} was recorded, {found!r} is found"


def rounded(described):
    """Return a description whose floats compare as equal up to a tolerance."""
    if isinstance(described, dict):
        return {key: rounded(value) for key, value in described.items()}
    if isinstance(described, list):
        return [rounded(value) for value in described]
    return approximately(described) if isinstance(described, float) else described


def approximately(value):
    return pytest.approx(value, abs=5e-3, rel=2e-2, nan_ok=True)


@pytest.fixture(scope="module")
def encoder():
    return encoder_with_numpy_weights()


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.__name__)
def test_fits_reproduce_recorded_results(fit, encoder, record, tmp_path):
    """Splits, histories, temperatures, scores and probabilities equal the recorded ones.

    They agree to the bit with the recorded libraries on the recorded kind of processor, and closely
    otherwise.
    """
    expected = record["fits"][fit.__name__]
    if record["place"] != PLACE or fit in CLOSE:
        expected = rounded(expected)
    found = describe(fit, encoder, tmp_path)
    assert list(differences(expected, found)) == []


def main():
    """Run all fits and record their results."""
    encoder = encoder_with_numpy_weights()
    fits = {}
    for fit in FITS:
        with tempfile.TemporaryDirectory() as folder:
            fits[fit.__name__] = describe(fit, encoder, folder)
    RECORD.write_text(json.dumps({"place": PLACE, "fits": fits}) + "\n")


if __name__ == "__main__":
    main()
