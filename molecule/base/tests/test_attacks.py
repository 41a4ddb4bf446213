"""Every way by which a notebook could start a process outside the unit that holds it, tried as its account and worse. Another account, for
which it works, says that the attempt itself is right.
"""

import time

import pytest

HOME = "/var/lib/jupyter"
# A notebook that has found its way to an unconfined process of its account for once; it wants to stay.
AS = "cd / && setpriv --reuid=jupyter --regid=jupyter --init-groups --reset-env "


@pytest.fixture(scope="module")
def other(host):
    """An account of somebody else's on the same host."""
    host.check_output("id other >/dev/null 2>&1 || useradd --create-home --shell /bin/bash other")
    yield "other"
    host.check_output("pkill -KILL -u other; sleep 1; userdel --remove --force other 2>/dev/null; rm -f /tmp/way-*")


@pytest.fixture(scope="module")
def jobs(host):
    """Hosts that people have run cron and at, and a service manager for each who logs in; the list of at's is as the role left it."""
    install = "apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold cron at libpam-systemd"
    host.check_output(f"DEBIAN_FRONTEND=noninteractive {install} >/dev/null 2>&1")
    host.check_output("systemctl start cron atd")


def test_a_key_that_it_wrote_lets_nobody_in(host, other):
    host.check_output(
        "rm -f /tmp/way-key* && ssh-keygen -q -t ed25519 -N '' -f /tmp/way-key && chmod 644 /tmp/way-key.pub"
    )
    for account in ("jupyter", other):
        host.check_output(
            "cd / && setpriv --reuid=%s --regid=%s --init-groups --reset-env sh -c %s",
            account,
            account,
            "umask 077; mkdir -p ~/.ssh && cat /tmp/way-key.pub >>~/.ssh/authorized_keys",
        )
    login = "ssh -F none -i /tmp/way-key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null %s@127.0.0.1 id -un"
    assert host.check_output(login, other) == other
    # 255 itself would be taken for an error of the tests' own ssh.
    refused = host.run(f"{login} 2>&1; test $? -eq 255 && echo refused", "jupyter")
    assert "Permission denied" in refused.stdout and refused.stdout.endswith("refused\n"), refused.stdout
    host.check_output(f"rm {HOME}/.ssh/authorized_keys")


def test_sshd_refuses_it_even_without_pam(host):
    assert "denyusers jupyter" in host.check_output("/usr/sbin/sshd -T").splitlines()
    assert "denyusers other" not in host.check_output("/usr/sbin/sshd -T").splitlines()


def test_it_may_not_plan_jobs(host, jobs, other):
    job = "sh -c 'echo \"* * * * * true\" | crontab -'"
    assert host.run(AS + job).failed
    assert host.run(f"cd / && setpriv --reuid={other} --init-groups --regid={other} --reset-env {job}").succeeded
    assert host.run(AS + "sh -c 'echo true | at now'").failed


def test_a_job_that_is_planned_already_does_not_run(host, jobs, other):
    # As a notebook could have written it before the account was closed, or as root would by mistake.
    host.check_output("rm -f /tmp/way-*")
    for account in ("jupyter", other):
        spool = f"/var/spool/cron/crontabs/{account}"
        host.check_output(
            f"echo '* * * * * touch /tmp/way-cron-$LOGNAME' >{spool} && chown {account}:crontab {spool} && chmod 600 {spool}"
        )
        host.check_output(f"cd / && touch /etc/at.allow && echo {account} >>/etc/at.allow")
        planned = f"setpriv --reuid={account} --regid={account} --init-groups --reset-env sh -c %s"
        host.check_output("cd / && " + planned, f"echo 'touch /tmp/way-at-{account}' | at now")
    host.check_output("rm /etc/at.allow")
    end = time.monotonic() + 130
    while not (host.file("/tmp/way-cron-other").exists and host.file("/tmp/way-at-other").exists):
        assert time.monotonic() < end, "the jobs of another account did not run either"
        time.sleep(2)
    time.sleep(2)
    assert host.run("ls /tmp/way-cron-jupyter /tmp/way-at-jupyter").stdout == ""
    host.check_output("rm /var/spool/cron/crontabs/jupyter; atq | cut -f 1 | xargs -r atrm")


def test_it_gets_no_service_manager_of_its_own(host, jobs, other):
    for account, works in ((other, True), ("jupyter", False)):
        uid = host.user(account).uid
        host.run(f"loginctl enable-linger {account}")
        assert host.run(f"systemctl start user@{uid}.service").succeeded is works
        assert host.run(f"pgrep -u {account} systemd").succeeded is works
        host.run(
            f"loginctl disable-linger {account}; systemctl stop user@{uid}.service; systemctl reset-failed user@{uid}.service"
        )
    assert not host.file("/var/lib/systemd/linger/jupyter").exists


def test_nobody_becomes_it_by_su(host):
    assert host.run("cd / && setpriv --reuid=nobody --clear-groups sh -c 'su jupyter -c true </dev/null'").failed
    assert host.run("cd / && su --login --command=true jupyter").failed


def test_what_belongs_to_the_host_still_runs_as_it(host):
    assert host.check_output("cd / && sudo -n -u jupyter id -un") == "jupyter"
    assert host.check_output("systemd-run --quiet --wait --pipe --property=User=jupyter id -un") == "jupyter"
    assert host.check_output("cd / && runuser -u jupyter -- id -un") == "jupyter"
