"""Use an installed skclip as a user does: the lines of the README, and the commands.

Run by ``make dist`` with the Python of an environment outside of the checkout:
``python tests/installed.py README.rst FOLDER``. It needs no network: the model that the README
names is replaced by the tiny CLIP that ships with the package.
"""

import csv
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def readme_lines(path):
    """The first block of Python."""
    block = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", path.read_text())[1]
    return re.sub("^    ", "", block, flags=re.MULTILINE)


def main(readme, place):
    import skclip
    from skclip.datasets import save_digits_images, tiny_clip

    checkout = readme.resolve().parent
    assert not Path(skclip.__file__).resolve().is_relative_to(checkout), skclip.__file__
    assert Path(skclip.__file__).resolve().is_relative_to(place.resolve()), skclip.__file__
    work = place / "work"
    work.mkdir()
    lines = readme_lines(readme)
    os.chdir(work)

    paths, _ = save_digits_images("my_images", n_per_class=6)
    from PIL import Image

    for path in paths[::2]:  # photographs, of which half end otherwise
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    Image.open(paths[0].with_suffix(".jpg")).save("new.jpg")
    model = f'pretrained="{tiny_clip()}"'
    replaced = lines.replace('"ViT-B-32", pretrained="openai"', model)
    assert replaced != lines, "the README names another model"
    found = {}
    exec(replaced, found)
    assert found["probabilities"].shape == (1, 10)
    assert len(found["paths"]) == len(paths)
    print(f"The {len(lines.split(chr(10)))} lines of the README run.")

    command = Path(sys.executable).with_name("skclip")

    def run(*arguments):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert (
        run("--version").strip() == f"skclip {version('skclip')}" == f"skclip {skclip.__version__}"
    )
    assert "Nothing is wrong with it." in run("check", "my_images")
    run("fit", "my_images", "--pretrained", tiny_clip())
    run("predict", "classifier.safetensors", "my_images")
    with Path("predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(Path(row["path"]).parent.name == row["class"] for row in rows)
    assert len(rows) == 60
    assert right > 50
    print(f"check, fit and predict run; {right} of 60 predictions are right.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
