"""Study one task of the bundled messages with tools of scikit-learn and cleanlab.

Run ``python examples/one_task.py``. It needs the extras [bundled] and [ecosystem] and no network.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import sklearn
from cleanlab.filter import find_label_issues
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import classification_report, f1_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from rapidfit_sk import EvalConfig, MultiheadConfig, TextClassifier, TrainingConfig
from rapidfit_sk.datasets import load_support_messages

N_ERRORS = 10


def load():
    """Return texts with their intents, and rows of the other tasks on other texts."""
    messages = load_support_messages()
    is_own = messages["text"].factorize()[0] % 2 == 0
    is_intent = messages["task"] == "intent"
    own = messages[is_own & is_intent]
    return own["text"].to_numpy(), own["label"].to_numpy(), messages[~is_own & ~is_intent]


def compare_with_helpers(classifier, X, y, helpers, cv):
    """Cross-validate without and with helpers, and return the probabilities without them."""
    probabilities = {}
    for name, params in {"alone": {}, "with helpers": {"helpers": (helpers,)}}.items():
        p = cross_val_predict(classifier, X, y, cv=cv, method="predict_proba", params=params)
        labels = np.unique(y)[p.argmax(axis=1)]
        f1 = [f1_score(y[test], labels[test], average="macro") for _, test in cv.split(X, y)]
        print(f"  {name:12}  {np.mean(f1):.3f} (folds: {np.round(f1, 3)})")
        probabilities[name] = p
    return probabilities["alone"]


def find_planted_errors(classifier, X, y, cv):
    """Change some labels, and count how many of them cleanlab finds."""
    rng = np.random.default_rng(0)
    changed = rng.choice(len(y), N_ERRORS, replace=False)
    classes, noisy = np.unique(y), y.copy()
    for i in changed:
        noisy[i] = rng.choice(classes[classes != y[i]])
    p = cross_val_predict(classifier, X, noisy, cv=cv, method="predict_proba")
    codes = np.searchsorted(classes, noisy)
    issues = find_label_issues(codes, p, return_indices_ranked_by="self_confidence", n_jobs=1)
    found = np.intersect1d(issues, changed)
    print(f"  cleanlab reports {len(issues)} labels; {len(found)} of the {N_ERRORS} changed ones.")
    for i in issues[:3]:
        print(f"  {noisy[i]:9} was {y[i]:9} {X[i][:60]}")


def main():
    """Print scores without and with helpers, a report, label errors and calibrated losses."""
    sklearn.set_config(enable_metadata_routing=True)
    X, y, helpers = load()
    print(f"{len(X)} texts with an intent; {len(helpers)} rows of other tasks on other texts.")
    config = MultiheadConfig(
        training=TrainingConfig(model_name="sentence-transformers/all-MiniLM-L6-v2", epochs=3),
        eval=EvalConfig(calibrate=False),
    )
    classifier = TextClassifier(config, task="intent", random_state=0)
    classifier.set_fit_request(helpers=True)
    cv = StratifiedKFold(3, shuffle=True, random_state=0)

    print("\nMacro-averaged F1 of the folds:")
    p = compare_with_helpers(classifier, X, y, helpers, cv)

    print("\nReport of the predictions without helpers:")
    print(classification_report(y, np.unique(y)[p.argmax(axis=1)], digits=3))

    print("Label errors:")
    find_planted_errors(classifier, X, y, cv)

    print("\nLog loss of cross-validated probabilities:")
    print(f"  as trained  {log_loss(y, p):.3f}")
    calibrated = CalibratedClassifierCV(classifier, method="sigmoid", cv=2)
    p = cross_val_predict(calibrated, X, y, cv=cv, method="predict_proba")
    print(f"  calibrated  {log_loss(y, p):.3f}")


if __name__ == "__main__":
    main()
