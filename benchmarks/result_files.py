"""What the comparison scripts write: metrics, tables in reStructuredText, the environment."""

import datetime
import hashlib
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

import skclip
from skclip.benchmark import evaluation
from skclip.metrics import confidence_bias, smooth_calibration_error
from skclip.utils.files import write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLES = ROOT / "docs" / "tables"


def measure(y_true, proba, labels):
    """Accuracy and ECE (10 bins) in per cent, NLL in nats, AURC x 1000, Brier in [0, 2].

    Also confidence minus accuracy in points, and the smooth calibration error in per cent.
    """
    found = evaluation.measure(y_true, proba, labels)
    return {
        "acc": 100 * found["accuracy"],
        "ece10": 100 * found["ece"],
        "nll": found["nll"],
        "aurc_x1000": 1000 * found["aurc"],
        "brier": found["brier"],
        "bias": 100 * confidence_bias(y_true, proba, labels=labels),
        "smece": 100 * smooth_calibration_error(y_true, proba, labels=labels),
    }


def geometric_mean(values):
    return float(np.exp(np.mean(np.log(values))))


def write_table(name, script, *parts):
    """Write docs/tables/NAME.rst from blocks of text, with the command that made it."""
    comment = f".. Written by benchmarks/{script}; do not edit.\n"
    write_text(TABLES / f"{name}.rst", "\n".join([comment, *parts]))


def plain_table(header, rows):
    """The same table for a terminal."""
    return pd.DataFrame(rows, columns=list(header)).astype(str).to_string(index=False)


def environment(**extra):
    """Versions, machine and threads: what a number of seconds or a last digit depends on."""
    packages = ("numpy", "scipy", "scikit-learn", "torch", "joblib")
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "command": " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
        "skclip": skclip.__version__,
        "skclip_source_sha256": _source_digest(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **extra,
    }


def write_json(path, content):
    write_text(path, json.dumps(content, indent=2) + "\n")


def _source_digest():
    digest = hashlib.sha256()
    folder = Path(skclip.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
