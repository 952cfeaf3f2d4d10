"""The tables of data sets of a study: what each is read from, under a name of its own."""

import hashlib
import json
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from skclip.benchmark.feature_data import (
    INDIFFERENT,
    FeatureDataset,
    embed_dataset,
    load_feature_dataset,
)
from skclip.benchmark.own_data import hold_out
from skclip.datasets import (
    FewShotSpec,
    ImageDataset,
    load_few_shot_dataset,
    load_image_csv,
    load_image_folder,
)
from skclip.exceptions import DatasetError, StudyError, StudyWarning
from skclip.prompts import ClassPrompts
from skclip.utils.csv_cells import one_line
from skclip.utils.files import slug
from skclip.utils.messages import listing

__all__ = ["Source", "read_sources", "warn_of_few"]

_KINDS = ("features", "dataset", "few_shot", "folder", "csv")
# What describes a data set in Python, instead of a name or a path.
_OBJECTS = {"dataset": ImageDataset, "few_shot": FewShotSpec}


@dataclass(frozen=True)
class Source:
    """A data set of a study.

    `path` is that of its features. `origin` and `weights` are the paths that its name and its
    backbone's come from, empty where they do not come from paths. `model` is what its features
    were made with, as :func:`embed_dataset` takes it. `shifts` are what is only tested.
    """

    name: str
    path: str
    support: str
    backbone: str
    trained_on: str | None = None
    origin: str = ""
    weights: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    shifts: tuple["Source", ...] = ()

    @property
    def data(self) -> FeatureDataset:
        """The features."""
        return load_feature_dataset(self.path)

    def n_repeated(self, tested: "Source") -> int:
        """How many rows that are tested are also among those that shots are drawn from."""
        support = self.data.features.get(self.support)
        return 0 if support is None else tested.data.n_repeated(support)

    def settings(self) -> list[tuple[str, str, str, "Source"]]:
        """Data set, backbone and support of its rows, and what is tested in them.

        The support of a shift names what was fitted: "imagenet:train".
        """
        shifted = [(s.name, self.backbone, f"{self.name}:{self.support}", s) for s in self.shifts]
        return [(self.name, self.backbone, self.support, self), *shifted]


def read_sources(tables: Iterable[Mapping[str, Any]], out: Path, verbose: int) -> list[Source]:
    """What is fitted, each with its shifts; images are embedded.

    Raises
    ------
    StudyError
        If a table means nothing, or two are the same.

    Warns
    -----
    StudyWarning
        If images are tested on that shots are drawn from.
    """
    if isinstance(tables, (str, Mapping)) or not isinstance(tables, Iterable):
        raise StudyError(f"datasets must be a list of tables; got {tables!r}.")
    sources = _with_shifts(_distinct([_source(table, out, verbose) for table in tables]))
    for source in sources:
        for tested in (source, *source.shifts):
            if n := source.n_repeated(tested):
                warnings.warn(
                    f"{n} of {len(tested.data.labels['test'])} images of {tested.name} to test on "
                    f"are also among those of {source.name} that shots are drawn from: their "
                    "features are equal. What is learned from an image is not tested by it, so "
                    "that results are too good. Remove one of the two.",
                    StudyWarning,
                    stacklevel=2,
                )
    return sources


def warn_of_few(sources: Iterable[Source], shots: Iterable[int]) -> None:
    """Warn of shots that most classes have not: their rows are of fewer than they say."""
    for source in sources:
        labels = source.data.labels.get(source.support, np.array([], dtype=int))
        _, counts = np.unique(labels, return_counts=True)
        for n_shots in shots:
            few = int((counts < n_shots).sum())
            if 2 * few > len(counts):
                warnings.warn(
                    f"Most classes should have as many images as shots are drawn; at {n_shots} "
                    f"shots {few} of {len(counts)} classes of {source.name} have fewer, the "
                    f"largest {counts.max()}, and give all they have. Ask for fewer shots.",
                    StudyWarning,
                    stacklevel=3,
                )


def _source(table, out, verbose):
    if not isinstance(table, Mapping):
        raise StudyError(f"A data set must be a table of keys and values; got {table!r}.")
    entry = dict(table)
    given = [key for key in _KINDS if key in entry]
    if len(given) != 1:
        raise StudyError(
            f"A data set needs one source among {', '.join(_KINDS)}; got {listing(entry)}."
        )
    kind = given[0]
    named, trained_on = (_text(entry, key, None) for key in ("name", "trained_on"))
    support = _text(entry, "support", "train")
    if support == "test":
        raise StudyError(
            "Shots must not be drawn from the rows that methods are tested on; got support='test'. "
            "Name another split."
        )
    if ":" in support:
        raise StudyError(f"support must be the name of a split, without colon; got {support!r}.")
    is_object = isinstance(entry[kind], _OBJECTS.get(kind, ()))
    if kind == "dataset" and not is_object:
        raise StudyError(f"dataset must be an ImageDataset; got {type(entry[kind]).__name__}.")
    value = entry.pop(kind) if is_object else _text(entry, kind)
    if kind == "features":
        if entry:
            raise StudyError(f"Features are ready: they take no {listing(entry)}.")
        found = Source("", str(value), support, "", trained_on)
        name, origin, weights = Path(value).stem, value, ""
    else:
        origin = entry.get("root", "") if kind == "few_shot" else "" if is_object else value
        if kind == "folder" and out.resolve().is_relative_to(Path(value).expanduser().resolve()):
            raise StudyError(
                "Results must not lie in a folder of images, where they would count as one of its "
                f"classes; got {out} in {value}. Name another folder."
            )
        images = _images(kind, value, entry)
        _check_splits(images, support)
        name, model = images.name, _model(entry, images)
        weights = str(model["pretrained"] or "")
        path = out / "features" / _file_name(named or name, images, model)
        embed_dataset(images, path, verbose=verbose, **model)
        found = Source("", str(path), support, "", trained_on, model=model)
    data = found.data  # an error now rather than in the middle
    if not len(data.labels.get("test", ())):
        raise DatasetError(
            f"Features must have rows to test on, a split test; got {listing(data.features)} in "
            f"{found.path}."
        )
    if len(known := np.unique(data.labels.get(support, ()))) == 1:
        raise DatasetError(
            f"A data set must have two classes at least; got {data.class_names[known[0]]!r} alone "
            f"to learn from in {found.path}."
        )
    return replace(
        found,
        name=one_line(named or name),
        backbone=data.backbone,
        trained_on=trained_on and one_line(trained_on),
        origin="" if named or not origin else str(Path(origin).expanduser().absolute()),
        weights=weights,
    )


def _text(entry, key, *default):
    """Text or a path of a table, out of it; a name may hold what no path can."""
    value = entry.pop(key, *default)
    if value is None:
        return None
    wrong = "\0" in str(value) and key not in ("name", "trained_on")
    if not isinstance(value, (str, os.PathLike)) or not str(value) or wrong:
        raise StudyError(
            f"{key} of a data set must be text without null characters; got {value!r}."
        )
    return value


def _images(kind, value, entry):
    if kind == "dataset":
        return value
    if kind == "few_shot":
        if "root" not in entry:
            raise StudyError(
                f"A few-shot data set needs the root of its files; got {value!r} only."
            )
        check = entry.pop("check", True)
        if not isinstance(check, bool):
            raise StudyError(f"check of a data set must be true or false; got {check!r}.")
        return load_few_shot_dataset(value, _text(entry, "root"), check=check)
    return hold_out((load_image_folder if kind == "folder" else load_image_csv)(value))


def _check_splits(images, support):
    """An image that is fitted and tested makes every number too good."""
    splits = {split: set(images.splits[split].paths) for split in images.splits}
    both = splits.get(support, set()) & splits.get("test", set())
    if both:
        raise DatasetError(
            f"No image may be in the splits {support} and test; got {listing(sorted(both))} in "
            f"{images.name}."
        )


def _model(entry, images):
    """What `entry` says of the model, checked as far as that needs no weights."""
    if "pretrained" not in entry:
        raise StudyError(
            f"Images need a model and pretrained weights; got {listing(entry)} for {images.name}."
        )
    templates = entry.get("templates")
    templates = images.template_set if templates is None else templates
    model = {key: _text(entry, key, None) for key in ("model", "pretrained")}
    try:
        ClassPrompts(templates=templates).prompts(["name"])
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise StudyError(f"templates of {images.name} cannot be filled in: {error}") from error
    return {**entry, **model, "templates": templates}


def _file_name(name, images, model):
    """Another one for everything that features are of; when files changed is in the stamp."""
    splits = [[s, list(i.paths), i.labels.tolist()] for s, i in images.splits.items()]
    decisive = {key: value for key, value in model.items() if key not in INDIFFERENT}
    content = json.dumps([splits, sorted(images.class_names.items()), decisive], default=repr)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return f"{slug(name, model['model'] or '', Path(str(model['pretrained'])).name, digest)}.npz"


def _distinct(sources):
    """The sources under names that say which is which: the parts of paths that differ are added.

    A backbone is one model, and no two sources have the same rows.
    """
    sources = [
        replace(s, backbone=one_line(f"{s.model['model'] or ''} {tail}".strip())) if tail else s
        for s, tail in zip(sources, _tails(sources, "weights", lambda s: s.backbone), strict=True)
    ]
    sources = [
        replace(s, name=one_line(tail)) if tail else s
        for s, tail in zip(sources, _tails(sources, "origin", _rows_of), strict=True)
    ]
    counts = Counter(map(_rows_of, sources))
    same = [name for (name, *_), count in counts.items() if count > 1]
    if same:
        raise StudyError(
            f"Every data set needs a name of its own; got {listing(same)} twice with one backbone "
            "and support. Give each table a name."
        )
    return sources


def _rows_of(source):
    return source.name, source.backbone, source.support, source.trained_on


def _tails(sources, attribute, group_of):
    """Of each source the last parts of a path, as many as tell it from others of its group.

    None where the group has one path, or the source has none.
    """
    groups = defaultdict(set)
    for source in sources:
        groups[group_of(source)].add(getattr(source, attribute))
    for source in sources:
        path, paths = getattr(source, attribute), groups[group_of(source)]
        if not path or len(paths) == 1:
            yield None
            continue
        parts = [PurePath(p).parts for p in paths]
        n = next((n for n in range(1, 99) if len({p[-n:] for p in parts}) == len(parts)), 99)
        yield "/".join(PurePath(path).parts[-n:])


def _with_shifts(sources):
    """What is fitted, with its shifts: those of the same backbone."""
    fitted = [source for source in sources if source.trained_on is None]
    shifts = defaultdict(list)
    for source in sources:
        if source.trained_on is None:
            continue
        targets = [
            i
            for i, base in enumerate(fitted)
            if base.name == source.trained_on and base.backbone == source.backbone
        ]
        if not targets:
            raise StudyError(
                f"trained_on must name a data set of the study with the same backbone; got "
                f"{source.trained_on!r} for {source.name}, and there are "
                f"{listing([base.name for base in fitted])}."
            )
        for i in targets:
            shifts[i].append(source)
    return [replace(base, shifts=tuple(shifts[i])) for i, base in enumerate(fitted)]
