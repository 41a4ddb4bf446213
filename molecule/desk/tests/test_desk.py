"""Samples that people see and cannot change."""

import json

import pytest

SAMPLES = "/usr/local/share/notebook-samples"


@pytest.mark.parametrize(
    ("server", "names"),
    [
        ("native", ["1-plot.ipynb", "2-mysql.ipynb", "4-s3.ipynb", "5-r.ipynb"]),
        ("image", ["1-plot.ipynb", "2-mysql.ipynb", "4-s3.ipynb"]),
    ],
)
def test_each_server_has_the_samples_that_it_can_run(host, server, names):
    assert host.check_output(f"ls {SAMPLES}/{server}").split() == names


def test_samples_are_bound_to_the_kernels_of_their_server(host):
    for path, kernel in {"native/1-plot": "py313", "native/5-r": "r", "image/1-plot": "python3"}.items():
        notebook = json.loads(host.file(f"{SAMPLES}/{path}.ipynb").content_string)
        assert notebook["metadata"]["kernelspec"]["name"] == kernel


@pytest.mark.parametrize(("folder", "server"), [("/srv/notebooks", "native"), ("/srv/image", "image")])
def test_people_read_them_and_copy_them_but_do_not_change_them(host, folder, server):
    assert host.file(f"{folder}/samples").linked_to == f"{SAMPLES}/{server}"
    assert host.run(f"runuser -u jupyter -- cp {folder}/samples/1-plot.ipynb {folder}/mine.ipynb").succeeded
    assert host.run(f"runuser -u jupyter -- rm {folder}/mine.ipynb").succeeded
    assert host.run(f"runuser -u jupyter -- touch {folder}/samples/1-plot.ipynb").failed
    assert host.run(f"runuser -u jupyter -- touch {folder}/samples/new.ipynb").failed


def test_a_link_of_somebody_s_was_not_followed(host):
    """It pointed to root's home, which would now be open to all and hold samples."""
    assert host.file("/root").mode == 0o700
    assert host.run("ls /root/*.ipynb").failed


def test_a_folder_of_somebody_s_own_is_still_theirs(host):
    folder = host.file("/srv/course/samples")
    assert (folder.is_directory, folder.is_symlink, folder.user) == (True, False, "jupyter")
