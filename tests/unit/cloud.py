"""An account in this process (moto), where every call can fail and every run can be cut off.

    for trouble in cloud.troubles(work):       # work(cloud) is done once to learn its calls, then once for each trouble
        ...

`Cloud.client` gives clients that count their calls. A fault is an error in the place of the nth call; a cut is a run that ends
right after the nth call was done, as a killed one does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.exceptions as aws
import pytest
from botocore.config import Config
from moto import mock_aws
from moto.ec2.models import ec2_backends

REGION = "us-west-2"
READS = ("Describe", "Get", "Head", "List")
# Clients that no account uses at the moment: to make one takes longer than most tests.
POOL: dict[tuple[str, str], list[Any]] = {}


class Cut(BaseException):
    """The run was killed here."""


@dataclass
class Cloud:
    """The account, and what is to go wrong."""

    calls: list[str] = field(default_factory=list)
    fail_at: int = 0
    code: str = ""
    cut_at: int = 0
    lent: list[tuple[tuple[str, str], Any, dict[str, Any]]] = field(default_factory=list)

    def client(self, service: str = "ec2", region: str = REGION) -> Any:
        """A client whose calls are counted."""
        free = POOL.setdefault((service, region), [])
        client = free.pop() if free else new_client(service, region)
        handlers = {"before-call.*": self._before, "after-call.*": self._after}
        for event, handler in handlers.items():
            client.meta.events.register(event, handler)
        self.lent.append(((service, region), client, handlers))
        return client

    def give_back(self) -> None:
        """Let other accounts have the clients."""
        for key, client, handlers in self.lent:
            for event, handler in handlers.items():
                client.meta.events.unregister(event, handler)
            POOL[key].append(client)
        self.lent.clear()

    def _before(self, model: Any, **_: Any) -> None:
        self.calls.append(model.name)
        if len(self.calls) == self.fail_at:
            detail = f"{self.code} (made up for this test)"
            raise aws.ClientError({"Error": {"Code": self.code, "Message": detail}}, model.name)

    def _after(self, **_: Any) -> None:
        if len(self.calls) == self.cut_at:
            raise Cut

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self.calls.clear()
        self.fail_at = self.cut_at = 0


def new_client(service: str, region: str) -> Any:
    """A client that tries once only."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


@contextmanager
def cloud(images: bool = True) -> Iterator[Cloud]:
    """A fresh account, with the thousand public images that moto has or without: a survey of snapshots goes through each of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        # A shell that speaks to a lab would have these calls go there.
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", str(images).lower())
        with mock_aws():
            # Whatever an earlier test has left; what is asked for is made anew.
            ec2_backends.clear()
            account = Cloud()
            yield account
            account.give_back()


def changing(calls: list[str]) -> list[int]:
    """The numbers (from 1) of the calls that change something."""
    return [number for number, name in enumerate(calls, 1) if not name.startswith(READS)]
