"""A folder of generated photographs with one fault of every kind, and the file that has it."""

from pathlib import Path

import numpy as np
from PIL import Image


def photograph(seed, size=(320, 240)):
    """Blurred noise in colour: like a photograph in that no two are alike, small or large."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    fine = rng.normal(0, 12, (size[1], size[0], 3))
    image = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), float)
    return Image.fromarray(np.clip(image + fine, 0, 255).astype(np.uint8))


def write_clean(root, n_images, n_classes=5):
    """Class folders in train and test, JPEG files, nothing wrong."""
    for i in range(n_images):
        split = "test" if i % 4 == 3 else "train"
        path = root / split / f"kind of thing {'abcdefghij'[i // 4 % n_classes]}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(i).save(path, quality=90)
    return root


def plant(root):
    """Put faults into the folder of :func:`write_clean`; the items that a check must name."""
    first, second = sorted(path for path in (root / "train").iterdir())[:2]
    tested = root / "test" / first.name
    images = sorted(first.glob("*.jpg"))
    planted = {}

    def put(kind, path, write):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        planted.setdefault(kind, set()).add(str(path.relative_to(root)))

    def copy(of):
        return lambda path: path.write_bytes(of.read_bytes())

    put("unreadable", first / "empty.jpg", lambda p: p.write_bytes(b""))
    put("unreadable", first / "text.jpg", lambda p: p.write_text("no image"))
    put("unreadable", second / "cut.jpg", lambda p: p.write_bytes(images[0].read_bytes()[:400]))
    put("copies", first / "z copy.jpg", copy(images[1]))
    put("conflicting labels", second / "z other label.jpg", copy(images[2]))
    planted["conflicting labels"].add(str(images[2].relative_to(root)))
    put("copies across splits", tested / "z from train.jpg", copy(images[3]))
    put(
        "similar across splits",
        tested / "z saved anew.jpg",
        lambda p: Image.open(images[4]).resize((240, 180)).save(p, quality=70),
    )
    put("similar", first / "z burst.jpg", lambda p: Image.open(images[5]).save(p, quality=60))
    put("masks", first / images[6].with_suffix(".png").name, photograph(90_000).convert("L").save)
    empty = root / "train" / "kind of thing x"
    empty.mkdir()
    planted["empty classes"] = {empty.name}
    planted["unmeasured classes"] = {f"test: {empty.name}", "test: 007"}
    put("hidden", first / "._0001.jpg", lambda p: p.write_bytes(b"\0\5\x16\7"))
    put("hidden", first / "Thumbs.db", lambda p: p.write_bytes(b"\0"))
    put("tiny", first / "z tiny.jpg", photograph(90_001, (20, 20)).save)
    put("wrong endings", first / "z.webp", lambda p: photograph(90_002).save(p, "JPEG"))
    put("no images", second / "notes.txt", lambda p: p.write_text("taken in May"))
    put("misnamed", second / "photo", lambda p: photograph(90_003).save(p, "PNG"))
    put("outside of classes", root / "train" / "loose.jpg", photograph(90_004).save)
    put("nested", second / "inner" / "deep.jpg", photograph(90_005).save)
    put("one colour", second / "z black.png", Image.new("RGB", (320, 240)).save)
    put("narrow", second / "z strip.png", photograph(90_006, (400, 40)).save)
    frames = [photograph(90_007), photograph(90_008)]
    put(
        "animations",
        second / "z moves.gif",
        lambda p: frames[0].save(p, save_all=True, append_images=frames[1:]),
    )
    for seed in (90_009, 90_010):
        path = root / "train" / "007" / f"{seed}.jpg"
        path.parent.mkdir(exist_ok=True)
        photograph(seed).save(path)
    planted["names of no meaning"] = {"007"}
    return planted


def found_in(check):
    """The items of every kind that a check names."""
    return {finding.kind: set(finding.items) for finding in check.findings}


def folder(path: Path, n_images: int):
    """A folder with faults, and what they are."""
    return path, plant(write_clean(path, n_images))
