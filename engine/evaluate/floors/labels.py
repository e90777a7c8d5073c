"""TF-IDF and logistic regression: one label, or any number of them, from the words and characters of the input fields.

Each field has its own vocabulary (words and word pairs; character 2- to 5-grams within words). The regularisation and the threshold were
chosen by cross-validation inside training pools, never on evaluation items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

ONE_LABEL_C = 10.0
EACH_LABEL_C = 30.0
THRESHOLD = 0.4
FEWEST_ROWS = 3
"""A label seen on fewer rows is not learnt."""
MAX_FIELDS = 24

Fields = Mapping[str, str]


class TextFeatures:
    """A sparse matrix from texts by field."""

    def __init__(self, rows: Sequence[Fields]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

        count = Counter(name for row in rows for name, text in row.items() if text.strip())
        self._parts: list[tuple[str, Any]] = []
        for name in sorted(name for name, _ in count.most_common(MAX_FIELDS)):
            texts = [row.get(name, "") for row in rows]
            for options in ({"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b|[?!]"}, {"analyzer": "char_wb", "ngram_range": (2, 5)}):
                vectoriser = TfidfVectorizer(sublinear_tf=True, **options)
                try:
                    vectoriser.fit(texts)
                except ValueError:  # a field without a single word
                    continue
                self._parts.append((name, vectoriser))

    def matrix(self, rows: Sequence[Fields]) -> Any:
        """One line a row."""
        from scipy.sparse import csr_matrix, hstack  # type: ignore[import-untyped]

        blocks = [vectoriser.transform([row.get(name, "") for row in rows]) for name, vectoriser in self._parts]
        return hstack(blocks).tocsr() if blocks else csr_matrix((len(rows), 1))


def predict_label(known: Any, labels: Sequence[Hashable], unknown: Any) -> list[Any]:
    """One label for each line of `unknown`."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    names = list(dict.fromkeys(labels))
    if len(names) == 1:
        return [names[0]] * unknown.shape[0]
    index = {name: number for number, name in enumerate(names)}
    model = LogisticRegression(C=ONE_LABEL_C, tol=1e-3, max_iter=200)
    model.fit(known, [index[label] for label in labels])
    return [names[number] for number in model.predict(unknown)]


def predict_labels(known: Any, labels: Sequence[frozenset[Any]], unknown: Any) -> list[list[Any]]:
    """The labels of each line of `unknown`, likeliest first; empty only if training rows without labels exist too."""
    from sklearn.linear_model import LogisticRegression

    count = Counter(label for row in labels for label in row)
    names = sorted((label for label, rows in count.items() if rows >= FEWEST_ROWS), key=lambda label: (-count[label], str(label)))
    if not names:
        return [[] for _ in range(unknown.shape[0])]
    chances = np.ones((unknown.shape[0], len(names)))
    for column, name in enumerate(names):
        has = np.array([name in row for row in labels])
        if not has.all():
            model = LogisticRegression(C=EACH_LABEL_C, solver="liblinear").fit(known, has)
            chances[:, column] = model.predict_proba(unknown)[:, 1]
    never_empty = all(labels)
    return [_likely(names, row, never_empty) for row in chances]


def _likely(names: Sequence[Any], chances: Any, never_empty: bool) -> list[Any]:
    order = np.argsort(-chances, kind="stable")
    likely = [names[position] for position in order if chances[position] >= THRESHOLD]
    return likely or ([names[order[0]]] if never_empty else [])
