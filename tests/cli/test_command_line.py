"""The command as its users run it: in a process of its own, on image files."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import skclip.cli
from skclip import CLIPFeaturizer
from skclip.cli import main
from skclip.datasets import save_digits_images, tiny_clip

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
MODEL = ["--pretrained", tiny_clip(), "--device", "cpu"]


def run_process(*arguments, code=0, text="", cwd=None):
    """What the command writes to its two outputs, in a process of its own: seconds to start."""
    command = [sys.executable, "-m", "skclip", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, input=text, check=False, cwd=cwd)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def run(capsys):
    """What the command writes to its two outputs, in this process."""

    def run_here(*arguments, code=0):
        assert main([str(argument) for argument in arguments]) == code
        return capsys.readouterr()

    return run_here


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Thirty digit images on disk, and their features."""
    folder = tmp_path_factory.mktemp("digits")
    save_digits_images(folder, n_per_class=3)
    paths = sorted(folder.glob("*/*.png"), key=lambda path: path.parts)
    features = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu").transform(paths)
    return folder, paths, features


def test_the_command_is_installed_as_skclip():
    scripts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["scripts"]
    module, function = scripts["skclip"].split(":")
    assert getattr(import_module(module), function) is main


def test_a_folder_becomes_features_and_paths(digits, tmp_path):
    folder, paths, features = digits
    (folder / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    printed, _ = run_process("embed", folder, *MODEL, "--out", out, "--shard-size", 8)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "features.npy"), features, atol=1e-5)
    assert (tmp_path / "out" / "paths.txt").read_text().splitlines() == [str(p) for p in paths]
    assert "30 files, 30 embedded now" in printed
    assert f"30 rows in {tmp_path / 'out'}" in printed


def test_the_same_command_again_embeds_nothing(run, digits, tmp_path):
    command = ["embed", digits[0], *MODEL, "--out", tmp_path / "out", "--shard-size", 8]
    run(*command)
    before = (tmp_path / "out" / "features.npy").read_bytes()
    printed, _ = run(*command)
    assert "30 files, 0 embedded now" in printed
    assert "4 of 4 shards were finished before" in printed
    assert (tmp_path / "out" / "features.npy").read_bytes() == before


def test_a_list_is_read_from_a_file_or_from_standard_input(run, digits, tmp_path, monkeypatch):
    """In its own order; relative paths, blank lines and Windows' line ends are no obstacle."""
    folder, paths, features = digits
    order = [5, 2, 11]
    names = [str(paths[i].relative_to(folder)) for i in order]
    (tmp_path / "list.txt").write_bytes("\r\n".join([*names, "", ""]).encode())
    monkeypatch.chdir(folder)
    run("embed", tmp_path / "list.txt", *MODEL, "--out", tmp_path / "a")
    lines = "\n".join(names) + "\n"
    run_process("embed", "-", *MODEL, "--out", tmp_path / "b", text=lines, cwd=folder)
    for out in "ab":
        found = np.load(tmp_path / out / "features.npy")
        np.testing.assert_allclose(found, features[order], atol=1e-5)


def test_shares_are_merged_by_a_last_call(run, digits, tmp_path):
    command = ["embed", digits[0], *MODEL, "--out", tmp_path / "out", "--shard-size", 8]
    for rank in range(2):
        printed, _ = run(*command, "--rank", rank, "--world-size", 2)
        assert not (tmp_path / "out" / "features.npy").exists()
        if rank == 0:
            assert "incomplete: other shares" in printed
    printed, _ = run(*command)
    assert "30 files, 0 embedded now" in printed
    np.testing.assert_allclose(np.load(tmp_path / "out" / "features.npy"), digits[2], atol=1e-5)


@pytest.fixture
def partly_broken(digits, tmp_path):
    """A list of three paths whose second is no image."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, [digits[1][0], broken, digits[1][1]])))
    return listed


def test_a_broken_file_stops_the_job_with_code_1(partly_broken, tmp_path):
    out = tmp_path / "out"
    _, error = run_process("embed", partly_broken, *MODEL, "--out", out, code=1)
    assert "skclip: error:" in error
    assert "broken.png" in error
    assert "Traceback" not in error


def test_a_broken_file_can_become_nan_or_have_no_row(run, partly_broken, digits, tmp_path):
    command = ["embed", partly_broken, *MODEL]
    printed, _ = run(*command, "--out", tmp_path / "nan", "--on-error", "nan")
    features = np.load(tmp_path / "nan" / "features.npy")
    assert np.isnan(features[1]).all()
    assert "1 files could not be read:" in printed
    run(*command, "--out", tmp_path / "skip", "--on-error", "skip")
    skipped = np.load(tmp_path / "skip" / "features.npy")
    np.testing.assert_allclose(skipped, features[[0, 2]], atol=1e-6)
    rows = (tmp_path / "skip" / "paths.txt").read_text().splitlines()
    assert rows == [str(digits[1][0]), str(digits[1][1])]


def test_quiet_writes_nothing(run, digits, tmp_path):
    printed, error = run("embed", digits[0], *MODEL, "--out", tmp_path / "out", "--quiet")
    assert (printed, error) == ("", "")


WRONG = {
    "no command": ([], "the following arguments are required: COMMAND"),
    "no model": (["embed", ".", "--out", "o"], "a model must be named: --model and --pretrained"),
    "missing source": (["embed", "nowhere", *MODEL, "--out", "o"], "'nowhere' is missing"),
    "rank": (["embed", ".", *MODEL, "--out", "o", "--rank", "1"], "--rank must be at least 0 and"),
    "shard size": (["embed", ".", "--out", "o", "--shard-size", "0"], "must be at least 1; got 0"),
    "batch size": (["embed", ".", "--out", "o", "--batch-size", "x"], "invalid .* value: 'x'"),
    "cache": (["cache", "info", "nowhere"], "DIR must be a folder; 'nowhere' is none"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_asked_for_wrongly_ends_with_code_2(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "usage: skclip" in error
    assert re.search(message, " ".join(error.split())), error


@pytest.mark.parametrize("command", ["embed", "benchmark"])
@pytest.mark.parametrize("out", [".", "results"])
def test_what_is_written_does_not_become_a_class(command, out, digits, capsys):
    folder = digits[0]
    before = sorted(folder.iterdir())
    with pytest.raises(SystemExit, match="2"):
        main([command, str(folder), *map(str, MODEL), "--out", str(folder / out)])
    assert "OUT must not lie in the folder of the images" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_an_empty_folder_is_asked_for_wrongly(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["embed", str(tmp_path), *MODEL, "--out", str(tmp_path.parent / "out")])
    assert "SOURCE must name an image at least" in capsys.readouterr().err


def test_a_model_that_is_unknown_fails_with_code_1(run, digits, tmp_path):
    _, error = run("embed", digits[0], "--model", "ViT-X", "--out", tmp_path / "out", code=1)
    assert "skclip: error: model must be an architecture that open_clip knows" in error
    assert "Traceback" not in error


def test_an_interrupt_ends_with_code_130(digits, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("skclip.features.embed_files", interrupted)
    assert main(["embed", str(digits[0]), *MODEL, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "skclip: interrupted"


COMMANDS = ("benchmark", "cache", "check", "embed", "fit", "label", "predict", "report")


def options_of(command):
    """The options of a command by name."""
    parser = skclip.cli._parser()
    (choice,) = [action for action in parser._actions if action.dest == "command"]
    actions = choice.choices[command]._actions
    return {name: action for action in actions for name in action.option_strings}


def test_an_option_means_the_same_in_every_command():
    """--on-error and --out but for what they default to, which is another thing in each."""
    same = ("--device", "--batch-size", "--cache-dir", "--glob", "--exclude", "--model")
    same += ("--pretrained", "--templates")
    for name in same:
        found = {c: options_of(c)[name] for c in COMMANDS if name in options_of(c)}
        assert len(found) >= 2, name
        assert len({(a.help, a.default, a.metavar) for a in found.values()}) == 1, name
    images = ("benchmark", "embed", "fit", "label", "predict")
    for command in images:
        assert {"--device", "--batch-size", "--glob", "--exclude"} <= options_of(command).keys()
        assert options_of(command)["--out"].required is False
    assert {"--glob", "--exclude"} <= options_of("check").keys()


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_teaches_by_example(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    printed = capsys.readouterr().out
    assert "Examples" in printed
    assert f"skclip {' '.join(command)}".strip() in printed


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_asking_the_command_what_it_is_loads_no_torch(option):
    """Nor anything else that takes a second: the answer is there at once."""
    heavy = ["torch", "numpy", "sklearn", "scipy", "PIL", "open_clip"]
    code = (
        "import sys\nfrom skclip.cli import main\n"
        f"try: main(['{option}'])\n"
        f"finally: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "skclip" in done.stdout
    assert done.stderr.strip() == "[]"


def test_a_command_is_one_file(tmp_path, monkeypatch, capsys):
    """Another command needs no line anywhere else."""
    (tmp_path / "greet.py").write_text(
        'SUMMARY = "say hello"\n'
        "def add_arguments(parser):\n    parser.add_argument('name')\n"
        "def run(arguments):\n    print('hello', arguments.name)\n    return 0\n"
    )
    monkeypatch.setattr(skclip.cli, "__path__", [*skclip.cli.__path__, str(tmp_path)])
    assert main(["greet", "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"


def test_a_cache_is_shown_and_cleared(digits, tmp_path, capsys):
    """Only what skclip has put there goes."""
    _, paths, _ = digits
    cache = tmp_path / "cache"
    CLIPFeaturizer(pretrained=tiny_clip(), device="cpu", cache_dir=cache).transform(paths[:5])
    (cache / "mine.txt").write_text("kept")
    assert main(["cache", "info", str(cache)]) == 0
    assert "5 rows in 1 shards" in capsys.readouterr().out
    assert main(["cache", "clear", str(cache)]) == 0
    assert "freed" in capsys.readouterr().out
    assert main(["cache", "info", str(cache)]) == 0
    assert capsys.readouterr().out == f"{cache}: 0 B\n"
    assert os.listdir(cache) == ["mine.txt"]  # noqa: PTH208
