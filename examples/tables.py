"""Distil tables to one row per class, and train classifiers on these rows: `python examples/tables.py [--quick]`."""

import json
import time
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import tyro
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from datastill import DistilledClassifier

Table = tuple[np.ndarray, np.ndarray]
CLASSIFIERS = {
    "logistic regression": lambda: LogisticRegression(max_iter=1000),
    "nearest neighbour": lambda: KNeighborsClassifier(1),
}
SPLITS, DRAWS, ITERATIONS = 5, 20, 300


def unbalanced() -> Table:
    """All 357 benign tumours of the table of breast cancers, and 30 of the malignant ones."""
    rows, classes = load_breast_cancer(return_X_y=True)
    kept = np.concatenate([np.flatnonzero(classes == 1), np.flatnonzero(classes == 0)[:30]])
    return rows[kept], classes[kept]


TABLES = {
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "unbalanced": unbalanced,
}


def one_of_each(train: Table, seed: int) -> Table:
    draw = np.random.default_rng(seed)
    chosen = [draw.choice(np.flatnonzero(train[1] == label)) for label in np.unique(train[1])]
    return train[0][chosen], train[1][chosen]


def accuracy(model: ClassifierMixin, train: Table, test: Table) -> float:
    return float(balanced_accuracy_score(test[1], model.fit(*train).predict(test[0])))


def one_split(rows: np.ndarray, classes: np.ndarray, seed: int, draws: int, iterations: int) -> dict:
    """Return the balanced accuracy on 30 % of the rows of each classifier, by the rows that it was trained on."""
    *both, train_classes, test_classes = train_test_split(
        rows, classes, test_size=0.3, stratify=classes, random_state=seed
    )
    scaler = StandardScaler().fit(both[0])
    train, test = (scaler.transform(both[0]), train_classes), (scaler.transform(both[1]), test_classes)
    distiller = DistilledClassifier(ipc=1, network="mlp(width=32,depth=1)", iterations=iterations, seed=seed)
    found = {"its network": {"distilled rows": accuracy(distiller, train, test)}}
    made = distiller.distilled_
    learned = made.original().numpy(), distiller.classes_[made.targets]
    for name, make in CLASSIFIERS.items():
        random = [accuracy(make(), one_of_each(train, draw), test) for draw in range(draws)]
        found[name] = {
            "distilled rows": accuracy(make(), learned, test),
            "random real rows": fmean(random),
            "all rows": accuracy(make(), train, test),
        }
    return found


def table(record: dict) -> str:
    lines = ["| table | trained on it | distilled rows | random real rows | all rows |", "|---|---|---|---|---|"]
    for name, splits in record["tables"].items():
        for model in splits[0]:
            values = [[100 * split[model].get(rows, np.nan) for split in splits] for rows in record["trained on"]]
            cells = [f"{fmean(each):.1f} ± {stdev(each):.1f}" if each[0] == each[0] else "" for each in values]
            lines.append(f"| {name} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(out: Path = Path("results/use-tables/tables.json"), quick: bool = False) -> dict:
    splits, draws, iterations = (2, 2, 5) if quick else (SPLITS, DRAWS, ITERATIONS)
    names, began = list(TABLES)[:1] if quick else list(TABLES), time.process_time()
    tables = {name: [one_split(*TABLES[name](), s, draws, iterations) for s in range(splits)] for name in names}
    record = {"command": "python examples/tables.py", "n": splits, "draws": draws, "iterations": iterations}
    record |= {"trained on": ["distilled rows", "random real rows", "all rows"], "tables": tables}
    record["processor_seconds"] = round(time.process_time() - began)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(record))
    return record


if __name__ == "__main__":
    tyro.cli(main)
