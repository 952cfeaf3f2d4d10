"""What a check of images found, and what will be done about it, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from skclip.utils.messages import listing

__all__ = ["KINDS", "Finding", "Kind", "in_order"]


class Kind(NamedTuple):
    """A kind of finding: how grave it is, what was found, and what is done about it."""

    severity: str
    what: str
    action: str


# In the order in which they are told. An "error" stops a fit or makes its numbers wrong.
KINDS: dict[str, Kind] = {
    "layout": Kind("error", "cannot be read as a data set", "nothing can be fitted"),
    "one class": Kind("error", "class is the only one", "a classifier needs two at least"),
    "unreadable": Kind(
        "error",
        "images cannot be read",
        "they stop fit and benchmark; --on-error skip leaves them out",
    ),
    "conflicting labels": Kind(
        "error", "images have a copy in another class", "fit uses none of the copies"
    ),
    "line breaks": Kind(
        "warning", "file names hold a line break", "predict and embed refuse them: rename the files"
    ),
    "spaces in names": Kind(
        "warning",
        "classes have names with spaces at an end",
        "they are part of the name: rename the folders",
    ),
    "equal names": Kind(
        "error",
        "classes have names that differ in case or punctuation only",
        "they are two classes with one text: merge the folders, or rename one",
    ),
    "copies across splits": Kind(
        "error",
        "images to measure on have a copy in train",
        "fit does not measure on them",
    ),
    "similar across splits": Kind(
        "error",
        "images to measure on look like one in train",
        "fit does not measure on them",
    ),
    "copies": Kind(
        "warning", "images are copies of another one of their class", "fit uses one of each"
    ),
    "similar": Kind(
        "note",
        "images look like another one of their split",
        "all are used; fit keeps them together where it holds out",
    ),
    "masks": Kind(
        "warning",
        "images stand beside one of the same name and another type, as masks do",
        'all are used as images; leave masks out with --exclude, such as --exclude "*.png"',
    ),
    "empty classes": Kind(
        "warning",
        "classes have no image to learn from",
        "they are known by their name alone",
    ),
    "single images": Kind(
        "warning",
        "classes have one image to learn from",
        "it is learned from, and nothing is held out of it",
    ),
    "unmeasured classes": Kind(
        "note", "classes have no image to measure on", "numbers say nothing of them"
    ),
    "imbalance": Kind(
        "note",
        "classes have less than a twentieth of the images of the largest",
        "all images count alike",
    ),
    "names of no meaning": Kind(
        "warning",
        "classes have names that a text model cannot know",
        "give their names as labels of a CSV file, or rename the folders",
    ),
    "outside of classes": Kind(
        "warning", "images lie in no class folder of a split", "they are left out"
    ),
    "nested": Kind(
        "warning",
        "images lie in folders within a class folder",
        "they are of the outer one's class; where the inner ones are the classes, pass the folder "
        "that holds them",
    ),
    "misnamed": Kind(
        "warning",
        "files hold an image and are not named as one",
        "they are left out; give them the ending of their type",
    ),
    "tiny": Kind(
        "warning", "images have a side below 32 pixels", "they are enlarged for the model"
    ),
    "one colour": Kind("warning", "images are of one colour", "they are used"),
    "narrow": Kind(
        "note", "images are more than four times as long as wide", "the model sees the middle"
    ),
    "animations": Kind("note", "images are animated", "the first frame is used"),
    "wrong endings": Kind(
        "note", "images are of another type than their ending says", "they are read by content"
    ),
    "no images": Kind("note", "files are no images", "they are left out"),
    "hidden": Kind("note", "files are hidden, as ._ files and Thumbs.db", "they are left out"),
    "links": Kind("note", "folders are links", "they are not followed"),
    "excluded": Kind("note", "files or folders are excluded", "they are left out"),
}


@dataclass(frozen=True)
class Finding:
    """Something in a collection of images that its owner should know.

    Parameters
    ----------
    kind : str
        Among the keys of ``skclip.workflow.KINDS``.
    items : tuple of str
        The images or files, as paths below the folder; or classes.
    details : mapping of str to str, default={}
        Of some items, what else is to be said: the reason, or the image that it copies.
    """

    kind: str
    items: tuple[str, ...]
    details: Mapping[str, str]

    @property
    def severity(self) -> str:
        """ "error", "warning" or "note"; an error stops a fit, or makes its numbers wrong."""
        return KINDS[self.kind].severity

    @property
    def action(self) -> str:
        """What is done about it."""
        return KINDS[self.kind].action

    def text(self, most: int = 5) -> str:
        """What was found, some of the items, and what is done, in lines.

        Parameters
        ----------
        most : int, default=5
            Items to name.

        Returns
        -------
        str
        """
        kind = KINDS[self.kind]
        if self.kind == "layout":
            return f"{kind.severity}: {self.items[0]}"
        lines = [f"{kind.severity}: {len(self.items)} {kind.what}; {kind.action}"]
        lines += [f"    {self._item(item)}" for item in self.items[:most]]
        if len(self.items) > most:
            lines.append(f"    and {len(self.items) - most} more")
        return "\n".join(lines)

    def short(self) -> str:
        """The same in a line, with the first item.

        Returns
        -------
        str
        """
        kind = KINDS[self.kind]
        if self.kind == "layout":
            return f"{kind.severity}: {self.items[0]}"
        return (
            f"{kind.severity}: {len(self.items)} {kind.what} ({listing(self.items, 1, show=str)})"
        )

    def _item(self, item: str) -> str:
        detail = self.details.get(item)
        return f"{item}: {detail}" if detail else item


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """By severity as :data:`KINDS` lists them."""
    order = list(KINDS)
    return sorted(findings, key=lambda finding: order.index(finding.kind))
