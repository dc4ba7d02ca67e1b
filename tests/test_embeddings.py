"""`embed` and `transform`: the text embeddings of a fitted classifier."""

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from rapidfit_sk import EncoderConfig, MultiheadClassifier, _fitted

TEXTS = ["Where is my parcel?", "", "It broke!", "Where is my parcel?"]


def test_embeddings_are_those_of_the_saved_encoder(fitted, tmp_path):
    """embed gives the embeddings of a mean-pooled folder that save_encoder wrote."""
    from transformers import AutoModel, AutoTokenizer

    fitted.save_encoder(tmp_path / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    hidden = AutoModel.from_pretrained(tmp_path / "encoder")(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    expected = ((hidden * mask).sum(1) / mask.sum(1)).detach().numpy()
    np.testing.assert_allclose(fitted.embed(TEXTS), expected, atol=1e-5)


def test_embeddings_are_of_the_fine_tuned_encoder(fitted, make_classifier, messages):
    """Training changes the embeddings; a frozen encoder has those of the pretrained one."""
    frozen = EncoderConfig(unfreeze_layers=0)
    first, second = (make_classifier(encoder=frozen, epochs=n).fit(messages) for n in (1, 2))
    np.testing.assert_allclose(first.embed(TEXTS), second.embed(TEXTS), atol=1e-6)
    assert not np.allclose(fitted.embed(TEXTS), first.embed(TEXTS), atol=1e-3)


def test_one_row_per_row(fitted, messages, monkeypatch):
    """There is one embedding per row in the order of X, whatever the size of a chunk."""
    whole = fitted.embed(messages)
    assert whole.dtype == np.float32
    assert len(whole) == len(messages)
    monkeypatch.setattr(_fitted, "CHUNK", 7)
    np.testing.assert_allclose(fitted.embed(messages), whole, atol=1e-6)
    found = fitted.embed(TEXTS)
    assert (found[0] == found[3]).all()
    assert fitted.embed([]).shape == (0, whole.shape[1])


def test_transform_in_a_pipeline(fitted, messages, make_classifier):
    """A classifier is a transformer: its embeddings feed another estimator of scikit-learn."""
    rows = messages[messages["task"] == "intent"]
    first = make_classifier().classifier_for("intent")
    pipeline = make_pipeline(first, LogisticRegression()).fit(rows["text"], rows["label"])
    assert pipeline.score(rows["text"], rows["label"]) > 0.4
    expected = pipeline[0].embed(rows["text"])
    assert (pipeline[0].transform(rows["text"]) == expected).all()


def test_names_of_features(fitted):
    """transform returns a named frame if it is asked for one."""
    names = fitted.get_feature_names_out()
    assert names.tolist()[:2] == ["multiheadclassifier0", "multiheadclassifier1"]
    assert len(names) == fitted.embed(TEXTS).shape[1]
    texts = pd.DataFrame({"text": TEXTS}, index=list("abcd"))
    frame = deepcopy(fitted).set_output(transform="pandas").transform(texts)
    assert frame.columns.tolist() == names.tolist()
    assert frame.index.tolist() == list("abcd")


def test_a_dict_of_tasks_is_refused_before_training(make_classifier):
    """fit takes a dict of tasks, but its rows have no order for transform."""
    data = {"tone": (["good", "bad"] * 20, ["yes", "no"] * 20)}
    classifier = make_classifier()
    with pytest.raises(TypeError, match="X is a dict of tasks, but only texts are read here"):
        classifier.fit_transform(data)
    assert not hasattr(classifier, "model_")


def test_fit_transform(make_classifier, messages):
    """fit_transform returns what fit and transform return."""
    frame = make_classifier().set_output(transform="pandas").fit_transform(messages)
    expected = make_classifier().fit(messages).embed(messages)
    np.testing.assert_array_equal(frame, expected)
    assert frame.index.tolist() == messages.index.tolist()


def test_tags(fitted):
    """Embeddings have their own dtype, whatever X has."""
    assert get_tags(fitted).transformer_tags.preserves_dtype == []


def test_not_fitted():
    """Before fit, embed raises the error of scikit-learn."""
    with pytest.raises(NotFittedError):
        MultiheadClassifier().embed(["a"])
