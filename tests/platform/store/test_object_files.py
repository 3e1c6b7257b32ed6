"""Small objects on what is a folder behave as on an object store."""

import threading

import pytest
from flowsweep.platform.store.object_files import files_at, get, put
from pyarrow.fs import FileSelector


def test_a_small_object_is_seen_whole_and_with_the_time_it_keeps(tmp_path):
    files, content = files_at(f"file://{tmp_path}"), b"." * (64 << 20)
    seen, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            for info in files.get_file_info(FileSelector("claims", allow_not_found=True)):
                seen.add((info.size, info.mtime_ns))

    watcher = threading.Thread(target=watch)
    watcher.start()
    put(files, "claims/one.json", content)
    done.set()
    watcher.join()
    final = files.get_file_info("claims/one.json")
    assert seen <= {(len(content), final.mtime_ns)}
    assert [info.path for info in files.get_file_info(FileSelector("aside"))] == []


def test_what_is_written_again_replaces_what_was_there(tmp_path):
    files = files_at(f"file://{tmp_path}")
    put(files, "claims/one.json", b"first")
    put(files, "claims/one.json", b"second")
    assert get(files, "claims/one.json") == b"second"
    with pytest.raises(FileNotFoundError):
        get(files, "claims/two.json")
