import json
import os
import subprocess
import sys

import pytest

from pipeline.engine.errors import EngineError
from pipeline.engine.lock import HomeLock, Tenant


def test_a_second_engine_is_refused_with_the_first_ones_pid(tmp_path):
    with HomeLock(tmp_path) as lock:
        lock.note(Tenant(os.getpid(), "first", 1.0))
        with pytest.raises(EngineError, match=rf"already runs in .*process {os.getpid()}"):
            HomeLock(tmp_path).__enter__()
    with HomeLock(tmp_path) as lock:
        assert lock.left_over() is None


def test_a_killed_engines_lock_heals_and_tells_what_it_left(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from pipeline.engine.lock import HomeLock, Tenant\n"
        "lock = HomeLock(Path(sys.argv[1])).__enter__()\n"
        "lock.note(Tenant(os.getpid(), 'killed', 5.0, (7, 8), 'night'))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    with HomeLock(tmp_path) as lock:
        tenant = lock.left_over()
    assert tenant is not None
    assert (tenant.engine_id, tenant.started, tenant.sessions, tenant.let_go) == ("killed", 5.0, (7, 8), "night")


@pytest.mark.parametrize("note", ["", "{", "[]", json.dumps({"pid": 1})])
def test_an_unreadable_note_is_no_tenant(tmp_path, note):
    (tmp_path / "engine.lock").write_text(note)
    with HomeLock(tmp_path) as lock:
        assert lock.left_over() is None


def test_a_note_can_stay_for_the_next_engine(tmp_path):
    with HomeLock(tmp_path) as lock:
        lock.note(Tenant(1, "first", 1.0, let_go="night"))
        lock.keep_note()
    with HomeLock(tmp_path) as lock:
        assert lock.left_over() == Tenant(1, "first", 1.0, let_go="night")
