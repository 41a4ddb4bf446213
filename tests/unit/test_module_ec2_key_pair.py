"""The public half of a new SSH key at AWS: every call refused, throttled or cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.exceptions as aws
import pytest

from plugins.modules import ec2_key_pair as module
from tests.unit.cloud import Cloud, Cut, changing, cloud, codes, quiet

OLD = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEoFQ/HKSgFPRW06zHe0d7ZOBgdbXU6Rcu8aRXwpRn4n"
NEW = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILvmtx3dNXvYy6x5QRxwqhHcGLMqJWV6aKtbxBn8I1ZQ"
OPTIONS: dict[str, Any] = {
    "name": "books-demo",
    "public_key": f"{NEW} comment",
    "tags": {"Project": "books", "Name": "demo", "ManagedBy": "ansible"},
}


@pytest.fixture
def account() -> Iterator[Cloud]:
    with cloud() as fresh:
        module.apply(fresh.client(), ["import"], "books-demo", OLD, OPTIONS["tags"])
        fresh.calm()
        yield fresh


def keys(account: Cloud) -> list[str]:
    """What AWS has, without counting the question."""
    pairs = quiet().describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    return [module.bare(pair["PublicKey"]) for pair in pairs]


def test_it_is_exchanged_once(account: Cloud) -> None:
    assert module.exchange(account.client(), OPTIONS, False) == {"changed": True, "former": OLD}
    assert keys(account) == [NEW]
    assert account.client().describe_key_pairs()["KeyPairs"][0]["Tags"]
    assert module.exchange(account.client(), OPTIONS, False) == {"changed": False, "former": NEW}


def test_a_dry_run_asks_and_changes_nothing(account: Cloud) -> None:
    assert module.exchange(account.client(), OPTIONS, True)["changed"]
    assert keys(account) == [OLD]


def test_one_that_is_missing_is_imported(account: Cloud) -> None:
    account.client().delete_key_pair(KeyName="books-demo")
    assert module.exchange(account.client(), OPTIONS, False) == {"changed": True, "former": ""}
    assert keys(account) == [NEW]


def test_somebody_elses_is_left_alone(account: Cloud) -> None:
    account.client().import_key_pair(KeyName="theirs", PublicKeyMaterial=OLD.encode())
    with pytest.raises(module.NotOursError):
        module.exchange(account.client(), {**OPTIONS, "name": "theirs"}, False)
    assert len(keys(account)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("code", codes("UnauthorizedOperation", "RequestLimitExceeded", "InvalidKeyPair.NotFound"))
def test_every_call_refused(account: Cloud, code: str) -> None:
    for number in range(1, 6):
        quiet().delete_key_pair(KeyName="books-demo")
        module.apply(quiet(), ["import"], "books-demo", OLD, OPTIONS["tags"])
        account.calm()
        account.fail_at, account.code = number, code
        with pytest.raises(aws.ClientError, match=code):
            module.exchange(account.client(), OPTIONS, False)
        # What AWS would refuse is known before the former one is deleted; only a fault in the very last call leaves none.
        assert keys(account) == ([] if number == 5 else [OLD])
        account.calm()
        assert module.exchange(account.client(), OPTIONS, False)["changed"]
        assert keys(account) == [NEW]


@pytest.mark.slow
def test_every_call_cut_off(account: Cloud) -> None:
    module.exchange(account.client(), OPTIONS, False)
    calls = list(account.calls)
    assert calls == ["DescribeKeyPairs", "ImportKeyPair", "DeleteKeyPair", "DeleteKeyPair", "ImportKeyPair"]
    for number in changing(calls):
        account.calm()
        account.client().delete_key_pair(KeyName="books-demo")
        module.apply(account.client(), ["import"], "books-demo", OLD, OPTIONS["tags"])
        account.calm()
        account.cut_at = number
        with pytest.raises(Cut):
            module.exchange(account.client(), OPTIONS, False)
        account.calm()
        module.exchange(account.client(), OPTIONS, False)
        assert keys(account) == [NEW]
