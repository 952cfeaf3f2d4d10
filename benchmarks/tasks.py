"""Several hundred few-shot tasks, cut from real feature sets by seeds.

A task is a support set, rows to classify, and a text, all in the features of one of the
data sets of ``real_features.py`` or of 700 classes of ImageNet. Tasks differ in

- the classes: all, a random subset, neighbours in the data set's order (ImageNet's is by kind,
  so that they are hard to tell apart), or those whose texts are nearest to one class's;
- the text: the data set's own, another set of prompts, one whose prototypes are moved towards
  those of other classes ("mixed"), or whose differences are shrunk ("faint");
- the support: 1 to 16 rows a class, balanced or long-tailed, single views or means of views.

No test split is read, except that of ImageNet: the classes that are kept for reporting are
others. ``data`` says what to leave out when a task is to be judged by tasks of other data sets.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from real_features import SINGLE_VIEW, folder
from sklearn.preprocessing import normalize

FILES = {name: file for name, (file, _) in SINGLE_VIEW.items()} | {
    "imagenet700": "imagenet700_vitb32.npz"
}
N_VIEWS = 10
MOST_ROWS = 2000


@cache
def arrays(data):
    """The arrays of a data set; features have unit rows."""
    with np.load(folder() / FILES[data]) as file:
        return {
            name: normalize(file[name].astype(float)) if "features" in name else file[name]
            for name in file.files
        }


@dataclass(frozen=True)
class Task:
    """What the arrays of :meth:`draw` are made from, by `seed`."""

    data: str
    kind: str  # "single views" or "view means" of the support rows
    selection: str  # "all", "random", "contiguous" or "related"
    n_classes: int
    text: str  # "own", "alternative", "mixed 0.5", "faint 0.3", ...
    shots: int
    tail: float
    seed: int
    part: int | None = None  # first or second half of the classes

    @property
    def is_ordinary(self):
        """Whether it is a task that people have: a text as it is, and a few classes at least."""
        return self.text in ("own", "alternative") and self.n_classes >= 5

    @property
    def n_views(self):
        """Views that a support row is the mean of, where the rows to classify are single views."""
        return N_VIEWS if self.kind == "view means" and self.data != "imagenet700" else 1

    def draw(self):
        """X (n, d), y (n,), X_test, y_test, text (c, d)."""
        rng = np.random.default_rng(self.seed)
        known = arrays(self.data)
        text = known["text_features_alt" if self.text == "alternative" else "text_features"]
        classes = self._classes(rng, text)
        code = np.full(len(text), -1)
        code[classes] = np.arange(len(classes))
        split = "train16" if self.n_views > 1 else SINGLE_VIEW.get(self.data, ("", "train"))[1]
        X, y = known[f"{split}_features"], known[f"{split}_labels"]
        support, rest = [], []
        for k, size in zip(classes, self._sizes(rng), strict=True):
            rows = rng.permutation(np.flatnonzero(y == k))
            support.append(rows[:size])
            rest.append(rows[size:])
        support, rest = np.concatenate(support), rng.permutation(np.concatenate(rest))
        X_test, y_test = X[rest], y[rest]
        if self.data == "imagenet700" or self.n_views > 1:
            other = "test" if self.data == "imagenet700" else "val"
            new = np.isin(known[f"{other}_labels"], classes)
            more = known[f"{other}_features"][new], known[f"{other}_labels"][new]
            if self.n_views > 1:
                X_test, y_test = more
            else:
                X_test = np.concatenate([more[0], X_test])
                y_test = np.concatenate([more[1], y_test])
        X_test, y_test = X_test[:MOST_ROWS], code[y_test[:MOST_ROWS]]
        return X[support], code[y[support]], X_test, y_test, self._degraded(text[classes])

    def _classes(self, rng, text):
        candidates = np.arange(len(text))
        if self.part is not None:
            candidates = np.array_split(candidates, 2)[self.part]
        if self.selection == "all":
            return candidates
        c = self.n_classes
        if self.selection == "random":
            return np.sort(rng.choice(candidates, c, replace=False))
        if self.selection == "contiguous":
            first = rng.integers(len(candidates) - c + 1)
            return candidates[first : first + c]
        near = np.argsort(-text[candidates] @ text[rng.choice(candidates)])
        return np.sort(candidates[near[:c]])

    def _sizes(self, rng):
        """Rows of every class: equal, or falling geometrically from `shots` to shots / tail."""
        exponent = -np.arange(self.n_classes) / max(self.n_classes - 1, 1)
        sizes = np.maximum(1, np.round(self.shots * self.tail**exponent)).astype(int)
        return rng.permutation(sizes)

    def _degraded(self, text):
        kind, _, degree = self.text.partition(" ")
        if kind == "mixed":
            text = (1 - float(degree)) * text + float(degree) * np.roll(text, 1, axis=0)
        elif kind == "faint":
            text = float(degree) * text + (1 - float(degree)) * text.mean(axis=0)
        return normalize(text)


def many_tasks(scale=1.0, first_seed=1000):
    """About 480 tasks times `scale`: 180 of ImageNet, 90 or 66 of each other data set."""
    rng = np.random.default_rng(first_seed)
    tasks = []

    def add(**values):
        tasks.append(Task(seed=first_seed + len(tasks), **values))

    sizes = (2, 3, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 350)
    odds = np.array([3, 3, 5, 6, 5, 6, 5, 5, 4, 4, 3, 2, 1])
    for _ in range(round(180 * scale)):
        shots = int(rng.choice([1, 2, 4], p=[0.35, 0.3, 0.35]))
        add(
            data="imagenet700",
            kind="view means",
            selection=str(rng.choice(["random", "contiguous", "related"])),
            n_classes=int(rng.choice(sizes, p=odds / odds.sum())),
            text=str(
                rng.choice(
                    ["own", "alternative", "mixed 0.25", "mixed 0.5", "faint 0.4"],
                    p=[0.4, 0.35, 0.08, 0.09, 0.08],
                )
            ),
            shots=shots,
            tail=4.0 if shots == 4 and rng.random() < 0.25 else 1.0,
            part=int(rng.integers(2)),
        )
    texts = ("own", "mixed 0.25", "mixed 0.5", "mixed 0.75", "mixed 1", "faint 0.3", "faint 0.6")
    for data, kinds, c in (
        ("pets25", ("single views", "view means"), 25),
        ("caltech69", ("single views", "view means"), 69),
        ("food9", ("single views",), 9),
        ("cifar10", ("single views",), 10),
    ):
        for _ in range(round((90 if len(kinds) > 1 else 66) * scale)):
            shots = int(rng.choice([1, 2, 4, 8, 16], p=[0.25, 0.2, 0.2, 0.2, 0.15]))
            everything = rng.random() < 0.5
            add(
                data=data,
                kind=str(rng.choice(kinds)),
                selection="all" if everything else str(rng.choice(["random", "related"])),
                n_classes=c if everything else int(rng.integers(2, c)),
                text=str(rng.choice(texts, p=[0.7, 0.06, 0.06, 0.03, 0.03, 0.06, 0.06])),
                shots=shots,
                tail=float(min(shots, 8)) if shots >= 4 and rng.random() < 0.2 else 1.0,
            )
    return tasks
