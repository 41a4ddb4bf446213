"""A host of the first version, on which a notebook used that conda was its own, after the role came again (former.yml)."""

import re

PREFIX = "/opt/conda"


def test_what_was_planted_is_gone(host):
    assert host.file(f"{PREFIX}/bin/conda").user == "root"
    assert "planted" not in host.file(f"{PREFIX}/bin/conda").content_string
    assert not host.file(f"{PREFIX}/etc/profile.d/conda.sh").exists
    assert not host.file("/etc/profile.d/anaconda_kernels.sh").exists
    assert not host.file("/opt/.conda.former").exists


def test_what_the_role_runs_as_the_account_is_confined(host):
    seen = host.file("/var/lib/jupyter/seen").content_string
    about = dict(re.findall(r"^(\w+):\s*(.*)$", seen, re.MULTILINE))
    assert about["Uid"].split()[0] == str(host.user("jupyter").uid)
    for name, values in (("NoNewPrivs", {"1"}), ("Seccomp", {"2"}), ("CapBnd", {"0" * 16})):
        assert set(re.findall(rf"^{name}:\s*(\S+)$", seen, re.MULTILINE)) == values, name


def test_what_such_code_leaves_behind_is_ended(host):
    assert host.run("pgrep -u jupyter -f 'sleep 86399'").stdout == ""
