"""Several runs of training with one checkpoint file."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fastrnn import FastRNN
from fastrnn.training.checkpoint_lock import reserved

X, Y = [[0, 2, 3], [0, 3]] * 4, [[2, 3, 1], [3, 1]] * 4


def model(path, **parameters):
    return FastRNN(hidden_dim=3, max_epochs=2, n_threads=1, random_state=0, checkpoint=path, **parameters)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_run_takes_a_name_of_its_own(tmp_path, caplog):
    path = str(tmp_path / "c.ckpt")
    with reserved(path, False) as first, reserved(path, False) as second, reserved(path, False) as third:
        assert (first, second, third) == (path, f"{path}.2", f"{path}.3")
        assert f"{path} is being written by another run: this one's checkpoint is {path}.2" in caplog.text
        assert names(tmp_path) == ["c.ckpt.2.lock", "c.ckpt.3.lock", "c.ckpt.lock"]
    assert names(tmp_path) == []
    with reserved(path, False) as again:
        assert again == path


def test_a_resumed_run_must_have_its_file_for_itself(tmp_path):
    path = str(tmp_path / "c.ckpt")
    fitted = model(path).fit(X, Y)
    with reserved(path, True):
        before = dict(vars(fitted))
        with pytest.raises(ValueError, match="^resume: .*c.ckpt is being written by another run"):
            fitted.fit(X, Y, resume=path)
        assert vars(fitted) == before
        elsewhere = str(tmp_path / "d.ckpt")  # reading it is no harm
        model(elsewhere, dropout=0.0).fit(X, Y, resume=path)
    fitted.fit(X, Y, resume=path)
    assert names(tmp_path) == ["c.ckpt", "d.ckpt"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_the_file_that_it_names(tmp_path):
    path, link = tmp_path / "c.ckpt", tmp_path / "link"
    link.symlink_to(path)
    refused = pytest.raises(ValueError, match="resume: .*link is being written")
    with reserved(str(path), False), refused, reserved(str(link), True):
        pass


def test_threads_that_share_a_checkpoint_train_as_if_alone(tmp_path):
    """As GridSearchCV does with n_jobs; each run is right, and leaves a checkpoint that is whole."""
    path = str(tmp_path / "c.ckpt")
    models = [model(path, checkpoint_minutes=1e-6, learning_rate=0.01 * (k + 1)) for k in range(4)]
    barrier = threading.Barrier(len(models))

    def fit(own):
        barrier.wait()
        own.fit(X, Y, callback=lambda _: time.sleep(0.05) and False)

    threads = [threading.Thread(target=fit, args=(own,)) for own in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in models:
        alone = FastRNN(**own.get_params()).set_params(checkpoint=None).fit(X, Y)
        assert own.loss_curve_ == alone.loss_curve_
    assert set(names(tmp_path)) <= {"c.ckpt", "c.ckpt.2", "c.ckpt.3", "c.ckpt.4"}
    for name in names(tmp_path):  # whole, and of one of the runs
        fits = 0
        for own in models:
            try:
                resumed = FastRNN(**own.get_params()).set_params(checkpoint=None).fit(X, Y, resume=tmp_path / name)
            except ValueError as error:
                assert "learning_rate" in str(error)
            else:
                fits += 1
                assert all(np.array_equal(resumed.params_[n], own.params_[n]) for n in own.params_)
        assert fits == 1


HOLDER = """
import sys, time
from fastrnn.training.checkpoint_lock import reserved
with reserved(sys.argv[1], False) as path:
    print(path, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_a_killed_run_holds_nothing(tmp_path):
    path = str(tmp_path / "c.ckpt")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline().strip() == path
        with reserved(path, False) as other:
            assert other == f"{path}.2"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    assert names(tmp_path) == ["c.ckpt.lock"]  # what is left is reused, and removed
    with reserved(path, False) as again:
        assert again == path
    assert names(tmp_path) == []


def test_where_files_cannot_be_locked_training_goes_on(tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fastrnn.training.checkpoint_lock._try_to_lock", fail)
    path = tmp_path / "c.ckpt"
    model(path).fit(X, Y)
    assert names(tmp_path) == ["c.ckpt"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        model(tmp_path / "none" / "c.ckpt").fit(X, Y)


def test_a_grid_search_with_one_checkpoint(tmp_path):
    selection = pytest.importorskip("sklearn.model_selection")
    pytest.importorskip("joblib")
    grid = {"learning_rate": [0.001, 0.01]}
    estimator = model(str(tmp_path / "c.ckpt"), vocab_size=4, checkpoint_minutes=1e-6)
    import joblib

    with joblib.parallel_config("threading"):
        found = selection.GridSearchCV(estimator, grid, cv=2, n_jobs=2, error_score="raise").fit(X, Y)
    alone = selection.GridSearchCV(estimator.set_params(checkpoint=None), grid, cv=2).fit(X, Y)
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
