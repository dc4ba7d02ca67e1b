"""Train and predict with the package `setfit`; run in the package's environment.

It reads task.json in the working directory and writes answer.json there.
"""

import json
import time
from pathlib import Path

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main():
    """Train one task with contrastive pairs and a differentiable head."""
    task = json.loads(Path("task.json").read_text())
    classes = sorted(set(task["labels"]))
    codes = {label: code for code, label in enumerate(classes)}
    rows = Dataset.from_dict(
        {"text": task["texts"], "label": [codes[label] for label in task["labels"]]}
    )
    start = time.perf_counter()
    model = SetFitModel.from_pretrained(
        task["model_name"],
        use_differentiable_head=True,
        head_params={"out_features": len(classes)},
    )
    arguments = TrainingArguments(
        output_dir="output",
        num_iterations=task["num_iterations"],
        # Without it, the head pads to the maximum length of the encoder.
        max_length=task["max_length"],
        seed=task["seed"],
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
    )
    Trainer(model=model, args=arguments, train_dataset=rows).train()
    trained = time.perf_counter()
    predicted = [classes[int(code)] for code in model.predict(task["questions"])]
    Path("answer.json").write_text(
        json.dumps({"training": trained - start, "predicted": predicted})
    )


main()
