"""Train on the bundled messages in one process, or in several that share the work.

Run ``torchrun --nproc_per_node 2 examples/train_distributed.py --save model``, or the same file
with ``python``. It needs the extra [bundled] and no network.
"""

import argparse
import os
import time
from datetime import timedelta

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch.distributed as dist

from rapidfit_sk import MultiheadClassifier, MultiheadConfig, TrainingConfig
from rapidfit_sk.datasets import load_support_messages

# Number of texts in a step of all processes together.
N_TEXTS = 16


def parse_arguments():
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--save", help="folder for the trained classifier")
    parser.add_argument("--epochs", type=int, default=3, help="fine-tuning epochs")
    parser.add_argument(
        "--model",
        default="sentence-transformers/all-MiniLM-L6-v2",
        help="folder or name of the encoder",
    )
    return parser.parse_args()


def join_processes():
    """Join the processes that torchrun started, and return the rank and the number of them."""
    if "RANK" not in os.environ:
        return 0, 1
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    # A process that waits longer than this for another one raises an error.
    dist.init_process_group(backend, timeout=timedelta(minutes=10))
    return dist.get_rank(), dist.get_world_size()


def main():
    """Train, and let the first process print the scores and save the classifier."""
    arguments = parse_arguments()
    rank, n_processes = join_processes()
    training = TrainingConfig(
        model_name=arguments.model, epochs=arguments.epochs, batch_size=N_TEXTS // n_processes
    )
    classifier = MultiheadClassifier(MultiheadConfig(training=training), random_state=0, verbose=1)
    started = time.perf_counter()
    classifier.fit(load_support_messages())
    if rank == 0:
        seconds = time.perf_counter() - started
        print(f"Processes: {n_processes}. Time of fit: {seconds:.0f} seconds.")
        print(classifier.predict_all(["I love this product!", "Where is my parcel?"]))
        if arguments.save is not None:
            classifier.save(arguments.save)
            print(f"Saved to {arguments.save!r}.")
    if n_processes > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
