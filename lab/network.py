"""What moto leaves out about Elastic IPs, spot requests and reservations, and what AWS does about them by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2 import utils
from moto.ec2.models import elastic_ip_addresses, instances
from moto.ec2.models import elastic_network_interfaces as interfaces
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.reserved_instances import ReservedInstances
from moto.ec2.utils import random_spot_request_id

Wrap = Callable[[Any, str], Callable[[Callable[..., Any]], None]]


class SpotRequest(TaggedEC2Resource):
    """The request behind an instance that RunInstances launched on the spot market."""

    def __init__(self, backend: Any, instance: Any, options: dict[str, Any], tags: dict[str, str]) -> None:
        self.ec2_backend, self.instance = backend, instance
        self.id = self.spot_instance_request_id = random_spot_request_id()
        self.instance_id = instance.id
        self.type = options.get("SpotInstanceType", "one-time")
        self.instance_interruption_behavior = options.get("InstanceInterruptionBehavior", "terminate")
        self.spot_price = options.get("MaxPrice", "")
        self.product_description = "Linux/UNIX"
        self.create_time = instance.launch_time
        self.cancelled = False
        self.add_tags(tags)

    @property
    def state(self) -> str:
        """AWS's word for it: a persistent request is disabled while its owner has stopped the instance."""
        if self.cancelled:
            return "cancelled"
        return "disabled" if self.instance.state in ("stopping", "stopped") else "active"

    @property
    def status(self) -> dict[str, Any]:
        """The code and its time."""
        code = {"cancelled": "request-canceled-and-instance-running", "disabled": "instance-stopped-by-user"}
        return {"Code": code.get(self.state, "fulfilled"), "UpdateTime": self.create_time, "Message": ""}

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        """What filters ask for."""
        if filter_name in ("state", "instance-id"):
            return {"state": self.state, "instance-id": self.instance_id}[filter_name]
        return super().get_filter_value(filter_name, "DescribeSpotInstanceRequests")


def apply(wrap: Wrap) -> None:
    """Change moto."""
    elastic_ips(wrap)
    spot(wrap)
    reservations()


def elastic_ips(wrap: Wrap) -> None:
    """An address stays with a stopped instance and leaves a terminated one; who loses one gets another of the pool's."""

    @wrap(elastic_ip_addresses.ElasticAddressBackend, "disassociate_address")
    def _disassociate(original: Any, self: Any, address: str | None = None, association_id: str | None = None) -> None:
        found = self.address_by_ip([address]) if address else self.address_by_association([association_id])
        card = found[0].eni
        original(self, address, association_id)
        if card and card.instance and card.instance.state == "running":
            card.check_auto_public_ip()

    @wrap(interfaces.NetworkInterface, "stop")
    def _stop(original: Any, self: Any) -> None:
        if not any(one.eni is self for one in getattr(self.ec2_backend, "addresses", [])):
            original(self)

    @wrap(instances.Instance, "terminate")
    def _terminate(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state == "terminated":
            return copy.copy(self._state)
        cards = list(self.nics.values())
        mine = [one for one in self.ec2_backend.addresses if one.instance is self or one.eni in cards]
        result = original(self, *args, **kwargs)
        for one in mine:
            one.instance = one.eni = one.association_id = None
        return result


def spot(wrap: Wrap) -> None:
    """RunInstances on the spot market makes a request, with tags; who cancels it loses an instance that is stopped."""
    utils.EC2_PREFIX_TO_RESOURCE["sir"] = "spot-instances-request"  # AWS's word, in ARNs and in tag specifications

    @wrap(InstanceResponse, "run_instances")
    def _run(original: Any, self: Any) -> Any:
        result = original(self)
        if self._get_param("InstanceMarketOptions.MarketType") != "spot":
            return result
        options = self._get_param("InstanceMarketOptions", {}).get("SpotOptions", {})
        tags = self._parse_tag_specification().get("spot-instances-request", {})
        for instance in result.result.instances:
            request = SpotRequest(self.ec2_backend, instance, options, tags)
            self.ec2_backend.spot_instance_requests[request.id] = request
            instance.spot_instance_request_id = request.id
        return result

    def cancel(self: Any, ids: list[str]) -> list[Any]:
        found = [self.spot_instance_requests[one] for one in ids]
        for request in found:
            request.cancelled = True
            if request.instance.state in ("stopping", "stopped"):
                request.instance.terminate()
        return found

    from moto.ec2.models.spot_requests import SpotRequestBackend

    SpotRequestBackend.cancel_spot_instance_requests = cancel  # type: ignore[method-assign]


def reservations() -> None:
    """No account of the lab has a reservation."""

    def describe(self: Any) -> ActionResult:
        return ActionResult({"ReservedInstances": []})

    ReservedInstances.describe_reserved_instances = describe  # type: ignore[method-assign,assignment]
