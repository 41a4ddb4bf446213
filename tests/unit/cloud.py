"""An account in this process (moto), where every call can fail and every run can be cut off.

`Cloud.client` gives clients that count their calls. A fault is an error in the place of the nth call; a cut is a run that ends
right after the nth call was done, as a killed one does. Both say so on standard output, which pytest shows with a test that
failed: a sweep over all calls is one test, in one account, with a server or a project of its own for each call.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.exceptions as aws
import pytest
from botocore.config import Config
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID, responses
from moto.ec2.models import amis, ec2_backends

REGION = "us-west-2"
READS = ("Describe", "Get", "Head", "List")
# Cut off after the first call that changes something, whichever that is.
FIRST_CHANGE = -1
# The public image of an account that has one.
IMAGE = "ami-12c6146b"
# Clients that no account uses at the moment: to make one takes longer than most tests.
POOL: dict[tuple[str, str], list[Any]] = {}
# At each call moto looks at all that a class has, to see whether it knows the call: an eighth of a call's time. The names will do.
responses.method_names_from_class = dir


class Cut(BaseException):
    """The run was killed here."""


@dataclass
class Cloud:
    """The account, and what is to go wrong."""

    calls: list[str] = field(default_factory=list)
    fail_at: int = 0
    code: str = ""
    cut_at: int = 0
    # What was answered, once the account is frozen.
    answers: dict[tuple[str, str], Any] | None = None
    lent: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = field(default_factory=dict)

    def client(self, service: str = "ec2", region: str = REGION) -> Any:
        """The client of the account for a service, whose calls are counted."""
        if (service, region) not in self.lent:
            client = borrowed(service, region)
            handlers = {"before-call.*": self._before, "after-call.*": self._after}
            for event, handler in handlers.items():
                client.meta.events.register(event, handler)
            self.lent[service, region] = client, handlers
        return self.lent[service, region][0]

    def give_back(self) -> None:
        """Let other accounts have the clients."""
        for key, (client, handlers) in self.lent.items():
            for event, handler in handlers.items():
                client.meta.events.unregister(event, handler)
            POOL[key].append(client)
        self.lent.clear()

    def freeze(self) -> None:
        """From now on nothing changes: what was asked once is answered from memory."""
        self.answers = {}

    def _before(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        self.calls.append(model.name)
        if len(self.calls) == self.fail_at:
            print(f"call {self.fail_at}, {model.name}, fails with {self.code}")
            detail = f"{self.code} (made up for this test)"
            raise aws.ClientError({"Error": {"Code": self.code, "Message": detail}}, model.name)
        if self.answers is None:
            return None
        context["question"] = model.name, repr((params["url"], params["body"]))
        return copy.deepcopy(self.answers.get(context["question"]))

    def _after(self, model: Any, http_response: Any, parsed: Any, context: dict[str, Any], **_: Any) -> None:
        if self.answers is not None:
            self.answers.setdefault(context["question"], (http_response, copy.deepcopy(parsed)))
        if len(self.calls) == self.cut_at or (self.cut_at == FIRST_CHANGE and changing([model.name])):
            print(f"cut off after call {len(self.calls)}, {model.name}")
            raise Cut

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self.calls.clear()
        self.fail_at = self.cut_at = 0


def borrowed(service: str, region: str) -> Any:
    """A client that no account uses, and that tries once only."""
    free = POOL.setdefault((service, region), [])
    if free:
        return free.pop()
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


@functools.cache
def quiet(service: str = "ec2") -> Any:
    """A client whose calls do not count."""
    return borrowed(service, REGION)


@contextmanager
def cloud(image: bool = False) -> Iterator[Cloud]:
    """A fresh account, with one public image or none: to make the thousand that moto has takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        # A shell that speaks to a lab would have these calls go there.
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        with mock_aws():
            # Whatever an earlier test has left; what is asked for is made anew.
            ec2_backends.clear()
            if image:
                backend = ec2_backends[DEFAULT_ACCOUNT_ID][REGION]
                backend.amis[IMAGE] = public_image(backend)
            account = Cloud()
            yield account
            account.give_back()


def public_image(backend: Any) -> amis.Ami:
    """An image of Amazon's, with its snapshot."""
    return amis.Ami(
        backend,
        IMAGE,
        name="a-public-image",
        owner_id="801119661308",
        owner_alias="amazon",
        public=True,
        virtualization_type="hvm",
        architecture="x86_64",
        hypervisor="xen",
        root_device_type="ebs",
        region_name=f"{REGION}a",
    )


def codes(first: str, *others: str) -> list[Any]:
    """Errors for each call in turn: one in the gate, the others where there is more time."""
    return [first, *(pytest.param(code, marks=pytest.mark.extended) for code in others)]


def changing(calls: list[str]) -> list[int]:
    """The numbers (from 1) of the calls that change something."""
    return [number for number, name in enumerate(calls, 1) if not name.startswith(READS)]
