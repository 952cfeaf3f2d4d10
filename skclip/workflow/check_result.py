"""The result of a check of images: counts, findings, and what may be used."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skclip.datasets import ImageDataset, ImageList
from skclip.exceptions import DatasetError, ImageError
from skclip.utils.messages import listing
from skclip.workflow.findings import Finding
from skclip.workflow.image_facts import ImageFacts, alike_rows

__all__ = ["DatasetCheck"]

_MOST_CLASSES = 20


@dataclass(frozen=True, eq=False)
class DatasetCheck:
    """What :func:`check_dataset` found.

    Parameters
    ----------
    source : Path
        The folder or CSV file.
    dataset : ImageDataset or None
        As it is there, unreadable images included; None if it cannot be read as one.
    findings : list of Finding
        The gravest first; empty where there is nothing to say.
    facts : dict of str to ImageFacts
        What each image holds, by its path.
    """

    source: Path
    dataset: ImageDataset | None
    findings: list[Finding]
    facts: Mapping[str, ImageFacts] = field(repr=False)

    @property
    def has_errors(self) -> bool:
        """Whether something stops a fit or makes its numbers wrong."""
        return any(finding.severity == "error" for finding in self.findings)

    def of_kind(self, kind: str) -> set[str]:
        """The items of a kind of finding; empty where there is none.

        Parameters
        ----------
        kind : str

        Returns
        -------
        set of str
        """
        return {item for finding in self.findings if finding.kind == kind for item in finding.items}

    def usable(self, on_error: str = "raise", *, alike: bool = True) -> ImageDataset:
        """What may be learned from and measured on, each image once.

        Parameters
        ----------
        on_error : {"raise", "skip", "keep"}, default="raise"
            What images that cannot be read do: an error that names them, they are left out, or
            nothing is done about them.
        alike : bool, default=True
            Whether images that look like another one of their split are kept.

        Returns
        -------
        ImageDataset
            Without copies, images of two classes, and images of val and test that are, or look
            like, one of train.

        Raises
        ------
        DatasetError
            If there is no data set, or no image is left to learn from.
        ImageError
            If images cannot be read and `on_error` is "raise".
        """
        if self.dataset is None:
            raise DatasetError(next(f for f in self.findings if f.kind == "layout").items[0])
        unread = self.of_kind("unreadable")
        if unread and on_error == "raise":
            raise ImageError(
                f"Every image of {self.source} must be readable; {len(unread)} are not: "
                f"{listing(sorted(unread), show=str)}. Repair or remove them, or leave them out: "
                "on_error='skip', --on-error skip of the command."
            )
        without = unread if on_error == "skip" else set()
        without |= self.of_kind("conflicting labels") | self.of_kind("similar across splits")
        if not alike:
            without |= self.of_kind("similar")
        splits, seen = {}, set[bytes | str]()
        for split, images in self.dataset.splits.items():
            kept = np.zeros(len(images), bool)
            for row, path in enumerate(images.paths):
                content = self.facts[path].digest or path  # without a digest where it is unreadable
                kept[row] = self.shown(path, split) not in without and content not in seen
                seen.add(content)
            splits[split] = ImageList(images.paths[kept], images.labels[kept])
        splits = {split: images for split, images in splits.items() if len(images)}
        if "train" not in splits:
            raise DatasetError(
                f"A data set must have images to learn from; none of {self.source} is left when "
                "copies of two classes and unreadable images are left out."
            )
        return ImageDataset(
            self.dataset.name, self.dataset.class_names, splits, self.dataset.template_set
        )

    def groups(self, paths: Iterable[str]) -> np.ndarray:
        """A number for each image, equal for those that look alike.

        Parameters
        ----------
        paths : iterable of n paths
            Of the data set.

        Returns
        -------
        ndarray of shape (n,)
        """
        small = np.stack([self.facts[path].small for path in paths])
        group = np.arange(len(small))
        for row, alike in alike_rows(small):
            known = group[alike]
            if (known != group[row]).any():
                group[np.isin(group, known)] = known.min()
        return group

    def shown(self, path: str | Path, split: str | None = None) -> str:
        """A path as findings have it: below the folder where it lies there.

        Parameters
        ----------
        path : path-like
        split : str, default=None
            The split that a CSV file lists it in, which a folder shows by itself.

        Returns
        -------
        str
        """
        root = self.source if self.source.is_dir() else self.source.parent
        path = Path(path)
        name = str(path.relative_to(root) if path.is_relative_to(root) else path)
        return f"{split}: {name}" if split and not self.source.is_dir() else name

    def summary(self) -> str:
        """A line of counts, and one for each error and warning.

        Returns
        -------
        str
        """
        found = [finding.short() for finding in self.findings if finding.severity != "note"]
        return "\n".join([self._counts(), *found])

    def text(self) -> str:
        """What `skclip check` prints: counts by class, and every finding.

        Returns
        -------
        str
        """
        lines = [self._counts()]
        if self.dataset is not None:
            splits = list(self.dataset.splits)
            for label in list(self.dataset.class_names)[:_MOST_CLASSES]:
                counts = [
                    f"{np.count_nonzero(self.dataset.splits[split].labels == label)} {split}"
                    for split in splits
                ]
                lines.append(f"  {self.dataset.class_names[label]}: {', '.join(counts)}")
            if len(self.dataset.class_names) > _MOST_CLASSES:
                lines.append(f"  and {len(self.dataset.class_names) - _MOST_CLASSES} more classes")
        if not self.findings:
            lines.append("Nothing is wrong with it.")
        return "\n".join([*lines, *(finding.text() for finding in self.findings)])

    def _counts(self) -> str:
        types = Counter(Path(path).suffix.lower() or "without an ending" for path in self.facts)
        counted = ", ".join(f"{n} {ending}" for ending, n in types.most_common()) or "no image"
        if self.dataset is None:
            return f"{self.source}: {counted}"
        splits = ", ".join(f"{len(images)} {s}" for s, images in self.dataset.splits.items())
        return f"{self.source}: {len(self.dataset.class_names)} classes; {splits}; {counted}"
