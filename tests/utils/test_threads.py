"""The number of threads is that of the work, of this thread alone, and for a call only."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from joblib.externals.loky.backend import context

from skclip import BayesAdapterClassifier
from skclip.datasets import make_clip_features
from skclip.utils import threads
from skclip.utils.threads import deserve, few_threads

LARGE = 1e12


@pytest.fixture
def two_threads(monkeypatch):
    """Two threads of torch here, whatever the machine and its environment have."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    yield
    torch.set_num_threads(before)


def elsewhere(function):
    """Its result in a thread that has never used torch."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def mkl_threads():
    """What MKL has for this thread; 0 where it takes OpenMP's, None where there is no MKL."""
    if threads._mkl() is None:
        return None
    number = threads._mkl()(0)
    threads._mkl()(number)
    return number


def test_one_thread_until_the_work_deserves_more(two_threads):
    with few_threads():
        assert torch.get_num_threads() == 1
        deserve(1.0)
        assert torch.get_num_threads() == 1
        deserve(LARGE)
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 2


def test_no_more_than_the_process_may_use(two_threads, monkeypatch):
    """joblib's count knows quotas, which torch does not."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    with few_threads():
        deserve(LARGE)
        assert torch.get_num_threads() == 1


V1 = "/sys/fs/cgroup/cpu/cpu.cfs_"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 4),
        ({f"{V1}quota_us": "100000\n", f"{V1}period_us": "100000\n"}, 1),
        ({f"{V1}quota_us": "-1\n", f"{V1}period_us": "100000\n"}, 4),
        ({}, 4),
    ],
    ids=["half", "one and a half", "no quota", "v1", "v1 without quota", "no cgroup"],
)
def test_the_quota_of_a_container_is_honoured(files, expected, monkeypatch):
    """Of a machine with four processors, by the files that the kernel shows in a container."""
    exists = os.path.exists

    def read(path, *args, **kwargs):
        return io.StringIO(files[path]) if path in files else Path(path).open(*args, **kwargs)

    def is_there(path):
        of_a_group = isinstance(path, str) and path.startswith("/sys/fs/cgroup/")
        return path in files if of_a_group else exists(path)

    monkeypatch.setattr(context, "open", read, raising=False)
    monkeypatch.setattr(os.path, "exists", is_there)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with few_threads():
            deserve(LARGE)
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 4
        assert joblib.effective_n_jobs(-1) == expected  # threads that decode images
    finally:
        torch.set_num_threads(before)


def test_what_the_user_has_set_comes_back_after_an_error(two_threads):
    before = mkl_threads()

    def interrupted():
        with few_threads():
            assert mkl_threads() in (None, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.get_num_threads() == 2
    assert mkl_threads() == before


def test_other_threads_keep_theirs(two_threads):
    """Also those that use torch for the first time while the number is small."""
    with few_threads():
        assert elsewhere(torch.get_num_threads) == 2


def test_the_outer_block_has_the_say(two_threads):
    with few_threads():
        deserve(LARGE)
        with few_threads():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2


def test_without_a_block_nothing_is_set(two_threads):
    deserve(1.0)
    assert torch.get_num_threads() == 2


def test_fits_in_threads_are_those_of_one_after_the_other(two_threads):
    """And each thread has its number when it is done."""
    data = make_clip_features(8, 20, n_features=64, random_state=0)
    seen, start = [], threading.Barrier(4)

    def fit():
        torch.set_num_threads(2)
        start.wait()
        proba = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
        proba = proba.predict_proba(data.X_test)
        seen.append(torch.get_num_threads())
        return proba

    expected = BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    expected = expected.predict_proba(data.X_test)
    with ThreadPoolExecutor(4) as pool:
        for proba in [job.result() for job in [pool.submit(fit) for _ in range(4)]]:
            np.testing.assert_array_equal(proba, expected)
    assert seen == [2] * 4
    assert torch.get_num_threads() == 2


def test_a_fit_and_a_prediction_run_in_one_thread_where_they_are_small(two_threads, monkeypatch):
    seen = []
    softmax = torch.log_softmax

    def watched(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return softmax(*args, **kwargs)

    monkeypatch.setattr(torch, "log_softmax", watched)
    data = make_clip_features(4, 5, random_state=0)
    classifier = BayesAdapterClassifier(data.prototypes, posterior="laplace").fit(data.X, data.y)
    classifier.set_params(posterior="map").fit(data.X, data.y).predict_proba(data.X_test)
    assert seen
    assert set(seen) == {1}
