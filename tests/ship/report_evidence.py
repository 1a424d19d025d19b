"""The files that a run on scikit-learn's digits would leave, with scikit-learn's and SciPy's numbers: for the report's tests."""

from __future__ import annotations

from typing import Any

import numpy as np

Evidence = dict[str, Any]


def score(right: float, n: float) -> Evidence:
    """A share with SciPy's Wilson interval."""
    from scipy.stats import binomtest

    if not n:
        return {"value": None, "low": None, "high": None, "n": 0, "method": ""}
    low, high = binomtest(round(right), int(n)).proportion_ci(method="wilson")
    return {"value": right / n, "low": low, "high": high, "n": int(n), "method": "wilson"}


def split_block(truth: np.ndarray, p: np.ndarray, classes: list[str], ids: list[str]) -> Evidence:
    """The block of ``metrics.json`` for one split, from scikit-learn's metrics."""
    from sklearn import metrics as reference

    answers, n, k = p.argmax(1), len(truth), len(classes)
    table = reference.confusion_matrix(truth, answers, labels=range(k))
    f1 = reference.f1_score(truth, answers, average=None, labels=range(k), zero_division=0)
    plain = {"low": None, "high": None, "n": n, "method": ""}
    per_class = [
        {
            "class": name,
            "n": int(table[i].sum()),
            "precision": score(table[i, i], table[:, i].sum()),
            "recall": score(table[i, i], table[i].sum()),
            "f1": {"value": float(f1[i]), **plain},
            "auc_roc": None,
            "average_precision": None,
            "threshold": None,
        }
        for i, name in enumerate(classes)
    ]
    bins, sure = [], p.max(1)
    for low in np.arange(0, 1, 0.1):
        inside = (sure > low) & (sure <= low + 0.1)
        right = score((answers == truth)[inside].sum(), inside.sum())
        mean = float(sure[inside].mean()) if inside.any() else None
        ends = {"accuracy": right["value"], "accuracy_low": right["low"], "accuracy_high": right["high"]}
        bins.append({"low": low, "high": low + 0.1, "confidence": mean, "n": int(inside.sum()), **ends})
    wrong = np.flatnonzero(answers != truth)
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j and table[i, j]]
    confused = [
        {
            "truth": classes[i],
            "answer": classes[j],
            "count": int(table[i, j]),
            "ids": [ids[r] for r in wrong if (truth[r], answers[r]) == (i, j)],
        }
        for i, j in sorted(pairs, key=lambda pair: -table[pair])
    ]
    return {
        "n": n,
        "metrics": {
            "accuracy": score((answers == truth).sum(), n),
            "macro_f1": {"value": float(f1.mean()), **plain},
            "log_loss": {"value": float(reference.log_loss(truth, p, labels=range(k))), **plain},
            "ece": {"value": 0.02, **plain},
        },
        "per_class": per_class,
        "confusion": table.tolist(),
        "confused": confused,
        "reliability": bins,
        "wrong": [
            {
                "id": ids[r],
                "label": classes[truth[r]],
                "answer": classes[answers[r]],
                "p_answer": float(sure[r]),
                "p_label": float(p[r, truth[r]]),
            }
            for r in wrong[np.argsort(-sure[wrong])]
        ],
    }


def digits_run() -> Evidence:
    """What a run on scikit-learn's handwritten digits leaves behind: {"run", "metrics", "findings"}."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    source = load_digits()
    x, y = source.data / 16, source.target
    model = LogisticRegression(C=0.01, max_iter=200).fit(x[:600], y[:600])
    classes, ids = [f"digit-{k}" for k in range(10)], [f"{label}/{row:04d}.png" for row, label in enumerate(y)]
    blocks = {
        name: split_block(y[part], model.predict_proba(x[part]), classes, ids[part])
        for name, part in (("validation", slice(600, 1000)), ("test", slice(1000, 1797)))
    }
    counts = {
        "train": np.bincount(y[:600]).tolist(),
        "validation": np.bincount(y[600:1000]).tolist(),
        "test": np.bincount(y[1000:]).tolist(),
    }
    ladder = [
        {
            "name": "majority",
            "seconds": 0.001,
            "at": 2.5,
            "n": 400,
            "chosen": False,
            "detail": "",
            "metrics": {"accuracy": score(41, 400)},
        },
        {
            "name": "softmax",
            "seconds": 1.25,
            "at": 4.0,
            "n": 400,
            "chosen": True,
            "detail": "L2",
            "metrics": {"accuracy": blocks["validation"]["metrics"]["accuracy"]},
        },
    ]
    stages = [
        {"name": "index", "seconds": 3.0, "detail": "1,797 files"},
        {"name": "split", "seconds": 1.0, "detail": "by cluster, seed 7"},
    ]
    run = {
        "visum": "0.1.0", "started": "2025-01-02T03:04:05", "command": "visum train digits", "seed": 7, "status": "running",
        "machine": {"cpu": "a cpu", "cores": 2}, "versions": {"numpy": "2.0"}, "stages": stages, "seconds": 4.5, "budget": 60,
        "test_openings": 1, "engine": {"name": "openvino", "precision": "bf16", "images_per_second": 312.4}, "backbone": "none",
        "preprocess": {"size": 8}, "data": {"path": "/data/digits", "digest": "ab" * 32, "n": 1797, "classes": classes,
        "splits": {name: sum(c) for name, c in counts.items()}, "counts": counts,
        "unreadable": [{"id": "bad.png", "reason": "0 bytes"}]},
    }  # fmt: skip
    findings = [
        {"kind": "blurred", "severity": "info", "message": "2 are blurred", "ids": ids[1:3], "numbers": {"images": 2}},
        {
            "kind": "near_duplicate",
            "severity": "serious",
            "message": "Run visum audit --fix",
            "ids": ids[1000:1004],
            "numbers": {"share": 0.25},
        },
    ]
    metrics = {
        "task": "multiclass",
        "classes": classes,
        "chosen": "softmax",
        "temperature": 1.375,
        "thresholds": [],
        "splits": blocks,
        "ladder": ladder,
    }
    return {"run": run, "metrics": metrics, "findings": findings}
