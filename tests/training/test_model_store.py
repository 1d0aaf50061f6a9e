"""The life cycle of a trained model: names, pointers, and commands that share a root without harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from interest_tiers.errors import ConfigError
from interest_tiers.training import working_folder
from interest_tiers.training.model_store import ModelStore, model_root

PROJECT = Path(__file__).parents[2]
DAY, FINGERPRINT, OTHER = date(2024, 6, 1), "ab" * 32, "cd" * 32

#: A command that trains ten steps: a step adds a line to its checkpoint. It says where it is, and waits at one step for a file.
COMMAND = """
import sys, time
from datetime import date
from pathlib import Path
from interest_tiers.training.model_store import ModelStore

root, fingerprint, run_id, held_at = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
store = ModelStore(root, "record.json", run_id)
with store.working_folder(date(2024, 6, 1), fingerprint) as working:
    working.checkpoints.mkdir(exist_ok=True)
    rows = working.rows("training")
    rows.mkdir(parents=True)
    (rows / "part").write_text(run_id)
    log = working.checkpoints / "steps"
    resumed = len(log.read_text().splitlines()) if log.exists() else 0
    for step in range(resumed, 10):
        if step == held_at:
            (root.parent / f"held-{run_id}").touch()
            while not (root.parent / f"go-{run_id}").exists():
                time.sleep(0.02)
        assert (rows / "part").read_text() == run_id
        with log.open("a") as file:
            file.write(f"{fingerprint[:2]} {step}\\n")
    model = working.path / "model"
    model.mkdir()
    (model / "weights").write_text(log.read_text())
    (model / "record.json").write_text("{}")
    store.publish(model, date(2024, 6, 1), fingerprint)
store.point(f"set-{fingerprint[:2]}", date(2024, 6, 1), fingerprint)
print(f"resumed at {resumed}")
"""


def start(root: Path, fingerprint: str, run_id: str, held_at: int = -1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, str(root), fingerprint, run_id, str(held_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)


def wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end, file
        time.sleep(0.02)


def weights(root: Path, fingerprint: str) -> str:
    return (root / f"{DAY}-{fingerprint[:16]}" / "weights").read_text()


def expected(fingerprint: str) -> str:
    return "".join(f"{fingerprint[:2]} {step}\n" for step in range(10))


def store(root: Path, run_id: str = "run") -> ModelStore:
    return ModelStore(root, "record.json", run_id)


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}")
    return folder


def test_a_killed_training_beside_a_running_one_and_each_ends_as_if_alone(tmp_path: Path) -> None:
    root = tmp_path / "models"
    killed, running = start(root, FINGERPRINT, "killed", 4), start(root, OTHER, "running", 6)
    for run_id in ("killed", "running"):
        wait_for(tmp_path / f"held-{run_id}")
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    # The next command takes over the checkpoints of the dead one while the other still runs.
    again = start(root, FINGERPRINT, "again")
    assert again.communicate()[0] == "resumed at 4\n"
    (tmp_path / "go-running").touch()
    assert running.communicate()[0] == "resumed at 0\n"
    assert [weights(root, each) for each in (FINGERPRINT, OTHER)] == [expected(FINGERPRINT), expected(OTHER)]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["models"]  # nothing is left in models.working


def test_two_live_trainings_of_one_model_share_no_checkpoints(tmp_path: Path) -> None:
    root = tmp_path / "models"
    first = start(root, FINGERPRINT, "first", 4)
    wait_for(tmp_path / "held-first")
    assert start(root, FINGERPRINT, "second").communicate()[0] == "resumed at 0\n"
    (tmp_path / "go-first").touch()
    assert first.communicate()[0] == "resumed at 0\n"
    assert first.returncode == 0  # the equal model of the second stays
    assert weights(root, FINGERPRINT) == expected(FINGERPRINT)


def test_what_fails_keeps_its_checkpoints_without_rows_for_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), store(tmp_path / "models", "one").working_folder(DAY, FINGERPRINT) as working:
        working.checkpoints.mkdir()
        working.rows("training").mkdir(parents=True)
        raise KeyboardInterrupt
    assert [path.name for path in working.path.iterdir()] == ["checkpoints"]
    with store(tmp_path / "models", "two").working_folder(DAY, OTHER) as other:
        assert list(other.path.iterdir()) == []
    with store(tmp_path / "models", "two").working_folder(DAY, FINGERPRINT) as resumed:
        assert [path.name for path in resumed.path.iterdir()] == ["checkpoints"]
        assert not working.path.exists()


def test_an_owner_on_another_machine_is_dead_after_ten_minutes_and_its_folder_goes_after_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tmp_path / "models.working"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(working_folder, "machine", lambda: "another")
        with store(tmp_path / "models", "far").working_folder(DAY, FINGERPRINT) as far:
            far.checkpoints.mkdir()
            raise KeyboardInterrupt
    owner = folders / f"{far.path.name}.owner.json"
    alive = json.loads(owner.read_text()) | {"is_released": False}
    owner.write_text(json.dumps(alive))
    with store(tmp_path / "models").working_folder(DAY, FINGERPRINT) as own:
        assert not own.checkpoints.exists()  # the other may still work
    for days, is_left in ((0.01, True), (8, False)):
        beat = time.time() - days * 24 * 3600
        os.utime(owner, (beat, beat))
        with store(tmp_path / "models").working_folder(DAY, OTHER):
            assert far.path.exists() == is_left
    assert not folders.exists()


def test_a_model_is_named_by_day_and_fingerprint_and_never_replaced(tmp_path: Path) -> None:
    models = store(tmp_path / "models")
    assert not models.is_trained(DAY, FINGERPRINT)
    first = make_model(tmp_path / "first")
    (first / "weights").write_text("first")
    target = models.publish(first, DAY, FINGERPRINT)
    assert target == tmp_path / "models" / "2024-06-01-abababababababab"
    assert models.is_trained(DAY, FINGERPRINT)
    assert models.publish(make_model(tmp_path / "second"), DAY, FINGERPRINT) == target
    assert (target / "weights").read_text() == "first"


def test_two_data_sets_share_a_root_and_a_pointer_moves_forward(tmp_path: Path) -> None:
    models, later = store(tmp_path / "models"), date(2024, 6, 2)
    for day, fingerprint in ((DAY, FINGERPRINT), (later, FINGERPRINT), (DAY, OTHER)):
        models.publish(make_model(tmp_path / "new"), day, fingerprint)
    models.point("shop", later, FINGERPRINT)
    models.point("shop", DAY, FINGERPRINT)  # an older day is trained again
    models.point("mall", DAY, OTHER)
    shop, mall = models.read_pointer("shop"), models.read_pointer("mall")
    assert shop is not None and mall is not None
    assert (shop.day, shop.folder, shop.run_id) == ("2024-06-02", "2024-06-02-abababababababab", "run")
    assert (mall.day, mall.fingerprint) == ("2024-06-01", OTHER)
    assert models.read_pointer("other") is None
    assert sorted(path.name for path in models.root.iterdir()) == [
        "2024-06-01-abababababababab", "2024-06-01-cdcdcdcdcdcdcdcd", "2024-06-02-abababababababab", "mall.current.json",
        "shop.current.json",
    ]  # fmt: skip


def test_models_of_back_tests_that_nobody_used_for_a_week_go(tmp_path: Path) -> None:
    models = store(tmp_path / "models")
    old, used = (models.publish(make_model(tmp_path / "new"), DAY, fingerprint) for fingerprint in (OTHER, FINGERPRINT))
    for folder in (old, used):
        os.utime(folder, (0, 0))
    models.keep_in_use(used)
    assert list(models.root.iterdir()) == [used]


@pytest.mark.parametrize(
    ("given", "warehouse", "expected"),
    [
        ("/shared/models", "s3a://bucket/shop", "/shared/models"),
        (None, "file:/data/shop", "/data/shop/models/tiers"),
        ("file:///shared/models", None, "/shared/models"),
    ],
)
def test_models_lie_in_the_configured_folder_or_in_the_warehouse(given: str | None, warehouse: str | None, expected: str) -> None:
    assert model_root(given, warehouse, "tiers.training.folder", "tiers") == Path(expected)


@pytest.mark.parametrize(
    ("given", "warehouse", "message"),
    [
        (None, "s3a://bucket/shop", "tiers.training.folder is not set. Model files need a path that every machine shares"),
        (None, None, "tiers.training.folder is not set. .* a catalog holds no files"),
        ("s3a://bucket/models", "/data/shop", "tiers.training.folder is s3a://bucket/models. Model files need a path"),
    ],
)
def test_a_root_that_machines_do_not_share_is_refused(given: str | None, warehouse: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model_root(given, warehouse, "tiers.training.folder", "tiers")
