"""A WSGI application for `test_serving.py`: it loads a classifier and predicts before a fork."""

import json
import os

from rapidfit_sk import TextClassifier


def make_application(folder):
    """Return an application that answers a list of texts with their probabilities."""
    classifier = TextClassifier.load(folder)
    classifier.predict(["good word 1"] * 64)

    def application(environ, start_response):
        shares = classifier.predict_proba(json.load(environ["wsgi.input"]))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"shares": shares.tolist(), "process": os.getpid()}).encode()]

    return application
