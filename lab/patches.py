"""Where moto answers something else than AWS would, and amazon.aws or a person would be misled by it."""

from __future__ import annotations

import copy
import secrets
import threading
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from moto.core import responses as core
from moto.core.exceptions import AuthFailureError, JsonRESTError, ServiceException
from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.core.utils import camelcase_to_underscores, utcnow
from moto.ec2 import utils
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, amis, elastic_ip_addresses, instances
from moto.ec2.models import elastic_block_store as ebs
from moto.ec2.models import elastic_network_interfaces as interfaces
from moto.ec2.models import security_groups as groups
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.responses.general import General
from moto.ec2.responses.iam_instance_profiles import IamInstanceProfiles
from moto.ec2.responses.instances import InstanceResponse
from moto.iam import access_control
from moto.s3.exceptions import BucketAccessDeniedError, S3AccessDeniedError
from moto.s3.responses import S3Response
from moto.ssm import models as ssm

from lab import budgets, catalog, copies, network, open_data, permissions, schedules
from lab.faults import Faults
from lab.settings import Settings

ROOT_DISK_GB = 8
# Services whose errors are JSON; the others answer in XML.
JSON_SERVICES = {
    "ssm",
    "kms",
    "budgets",
    "logs",
    "events",
    "secretsmanager",
    "dynamodb",
    "pricing",
    "servicequotas",
    "scheduler",
}


def wrap(owner: Any, name: str) -> Callable[[Callable[..., Any]], None]:
    """Replace a method: the function gets the original first, then self and the arguments."""
    original = getattr(owner, name)

    def install(function: Callable[..., Any]) -> None:
        setattr(owner, name, lambda self, *args, **kwargs: function(original, self, *args, **kwargs))

    return install


def apply(settings: Settings, faults: Faults, console: Callable[[str], str], runnable: Callable[[str], str]) -> None:
    """Change moto.

    `console` gives an instance's console text; `runnable` says why an image cannot run here ("" if it can).
    """
    addresses(settings)
    images()
    disks()
    security()
    launching(runnable)
    attributes()
    profiles()
    errors(faults)
    anonymous()
    copies.apply(wrap)
    permissions.apply(wrap)
    budgets.apply()
    network.apply(wrap)
    schedules.corrections(wrap)

    @wrap(General, "get_console_output")
    def _console(_: Any, self: Any) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        result = {"InstanceId": instance.id, "Timestamp": utcnow()}
        # AWS keeps the last 64 KB, and answers without any output until there is some.
        text = console(instance.id).encode(errors="replace")[-65536:].decode(errors="ignore")
        return ActionResult({**result, "Output": Base64EncodedString.from_raw_string(text)} if text else result)


def addresses(settings: Settings) -> None:
    """Public addresses come from the lab's subnet, each once; an Elastic IP survives stop and start."""
    issued: set[int] = set()
    lock = threading.Lock()
    first, last = int(settings.subnet.network_address) + 10, int(settings.subnet.broadcast_address) - 1

    def fresh() -> str:
        from moto.ec2.models import ec2_backends

        with lock:
            for _, _, backend in ec2_backends.iter_backends():
                known = [*backend.enis.values(), *backend.addresses]
                issued.update(int(utils_address(item.public_ip)) for item in known if item.public_ip)
            while True:
                number = first + secrets.randbelow(last - first + 1)
                if number not in issued:
                    issued.add(number)
                    return str(utils_address(number))

    interfaces.random_public_ip = elastic_ip_addresses.random_ip = fresh
    utils.EC2_PREFIX_TO_RESOURCE["eipalloc"] = "elastic-ip"  # else ec2_eip with tags says "changed" every time

    @wrap(interfaces.NetworkInterface, "check_auto_public_ip")
    def _keep(original: Any, self: Any) -> None:
        mine = [address for address in getattr(self.ec2_backend, "addresses", []) if address.eni is self]
        if mine:
            self.public_ip = mine[0].public_ip
        else:
            original(self)


def utils_address(value: int | str) -> Any:
    """Return an IPv4 address object."""
    from ipaddress import IPv4Address

    return IPv4Address(value)


def images() -> None:
    """Owners as on AWS, disks of a real image's size, the public parameters, and errors for a name used twice."""

    @wrap(amis.AmiBackend, "_load_amis")
    def _load(original: Any, self: Any) -> None:
        original(self)
        for ami in self.amis.values():
            ami.owner_alias = "amazon" if ami.owner_id == catalog.AMAZON else None

    def mappings(self: Any) -> list[dict[str, Any]]:
        if hasattr(self, "disks"):  # made of an instance
            return [
                {
                    "DeviceName": device,
                    "Ebs": {
                        "SnapshotId": snapshot.id,
                        "VolumeSize": snapshot.volume.size,
                        "VolumeType": "gp3",
                        "DeleteOnTermination": device == self.root_device_name,
                        "Encrypted": bool(snapshot.encrypted),
                    },
                }
                for device, snapshot in self.disks.items()
            ]
        disk = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": ROOT_DISK_GB, "VolumeType": "gp3"}
        return [{"DeviceName": self.root_device_name, "Ebs": {**disk, "DeleteOnTermination": True, "Encrypted": False}}]

    amis.Ami.block_device_mappings = property(mappings)  # type: ignore[method-assign, assignment]

    @wrap(amis.AmiBackend, "create_image")
    def _create(
        original: Any, self: Any, instance_id: str, name: str, description: str, tag_specifications: Any
    ) -> Any:
        if any(ami.name == name and ami.owner_id == self.account_id for ami in self.amis.values()):
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
        return original(
            self, instance_id, name, description, [tag for tag in tag_specifications if tag["ResourceType"] == "image"]
        )

    @wrap(ssm.ParameterDict, "_check_loading_status")
    def _parameters(original: Any, self: Any, key: str) -> None:
        if not str(key or "").startswith("/aws/service/ami-amazon-linux-latest"):
            original(self, key)
        for name, value in catalog.parameters().items():
            if not dict.__contains__(self, name):
                parameter = ssm.Parameter(
                    account_id=self.account_id,
                    name=name,
                    value=value,
                    parameter_type="String",
                    description=None,
                    allowed_pattern=None,
                    keyid=None,
                    last_modified_date=utcnow(),
                    version=1,
                    data_type="aws:ec2:image",
                )
                dict.__setitem__(self, name, [parameter])


def disks() -> None:
    """Fields that ec2_vol and ec2_vol_info read; the root disk on the image's own root device."""

    @wrap(ebs.Volume, "__init__")
    def _volume(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.multi_attach_enabled, self.snapshot_id = bool(self.multi_attach_enabled), self.snapshot_id or ""

    @wrap(ElasticBlockStore, "create_volume")
    def _create(original: Any, self: Any) -> ActionResult:
        # The same token twice is the same volume.
        token, made = self._get_param("ClientToken"), self.ec2_backend.__dict__.setdefault("volume_tokens", {})
        known = self.ec2_backend.volumes.get(made.get(token)) if token else None
        if known:
            return ActionResult(known)
        answer: ActionResult = original(self)
        if token:
            made[token] = answer.result.id  # type: ignore[attr-defined]
        return answer

    @wrap(ebs.EBSBackend, "attach_volume")
    def _attach(original: Any, self: Any, volume_id: str, instance_id: str, *args: Any, **kwargs: Any) -> Any:
        volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
        if volume.attachment:
            raise EC2ClientError("VolumeInUse", f"{volume_id} is already attached to an instance")
        if volume.availability_zone != instance.availability_zone:
            raise EC2ClientError(
                "InvalidVolume.ZoneMismatch",
                f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'",
            )
        return original(self, volume_id, instance_id, *args, **kwargs)

    @wrap(ebs.EBSBackend, "detach_volume")
    def _detach(original: Any, self: Any, volume_id: str, instance_id: str | None, device: str | None) -> Any:
        attachment = self.get_volume(volume_id).attachment
        if attachment is None:
            raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
        return original(self, volume_id, instance_id or attachment.instance.id, device)

    def goes_too(self: Any) -> bool:
        block = self.instance.block_device_mapping.get(self.device)
        return bool(block and block.delete_on_termination)

    # AWS says it with the volume, too; moto with the instance only.
    ebs.VolumeAttachment.delete_on_termination = property(goes_too)  # type: ignore[attr-defined]

    @wrap(instances.Instance, "setup_defaults")
    def _root(_: Any, self: Any) -> None:
        self.add_block_device(ROOT_DISK_GB, self.root_device_name, None, False, True, None, "gp3")


def security() -> None:
    """No endless loop in ec2_security_group where there is no default VPC; EC2's own word for "not allowed"."""

    @wrap(groups.SecurityGroupBackend, "create_security_group")
    def _create(original: Any, self: Any, name: str, description: str, vpc_id: Any = None, **kwargs: Any) -> Any:
        if not vpc_id and not self.get_default_vpc():
            raise EC2ClientError("VPCIdNotSpecified", "No default VPC for this user")
        return original(self, name, description, vpc_id, **kwargs)

    @wrap(access_control.IAMRequest, "_raise_access_denied")
    def _denied(_: Any, self: Any) -> None:
        detail = (
            f"User: {self._access_key.arn} is not authorized to perform: {self._action} on resource: "
            f"{getattr(self, 'refused', '*')} because no identity-based policy allows the {self._action} action"
        )
        if self._service == "ec2":
            raise refusal("UnauthorizedOperation", f"You are not authorized to perform this operation. {detail}")
        if self._service in JSON_SERVICES:
            raise JsonRESTError("AccessDeniedException", detail)
        raise refusal("AccessDenied", detail)

    @wrap(access_control.S3IAMRequest, "_raise_access_denied")
    def _s3_denied(_: Any, self: Any) -> None:
        error = S3AccessDeniedError()
        error.message = error.description = (
            f"User: {self._access_key.arn} is not authorized to perform: {self._action} on resource: "
            f'"{getattr(self, "refused", "*")}" because no identity-based policy allows the {self._action} action'
        )
        raise error

    @wrap(access_control.IAMRequest, "_create_aws_request")
    def _signed(original: Any, self: Any) -> Any:
        request = original(self)
        if not self._body and self._method in ("GET", "DELETE"):
            request.data = b""  # moto takes the query for the body too, and finds every such signature wrong
        return request

    @wrap(access_control.IAMRequest, "_raise_invalid_access_key")
    def _unknown(original: Any, self: Any, reason: str) -> None:
        if self._service in JSON_SERVICES:
            raise JsonRESTError("UnrecognizedClientException", "The security token included in the request is invalid.")
        original(self, reason)


def anonymous() -> None:
    """Who does not sign may read what is public, and nothing else."""

    @wrap(S3Response, "_authenticate_and_authorize_s3_action")
    def _authorize(original: Any, self: Any, bucket_name: str | None = None, key_name: str | None = None) -> None:
        if "Authorization" in self.headers:
            original(self, bucket_name, key_name)
        elif bucket_name != open_data.PUBLIC or self.method not in {"GET", "HEAD"}:
            raise BucketAccessDeniedError(bucket=bucket_name) if bucket_name else S3AccessDeniedError()


def refusal(code: str, message: str) -> AuthFailureError:
    """Return AWS's answer to a call that is not allowed, in XML."""
    error = AuthFailureError()
    error.code, error.error_type, error.message = 403, code, message
    inner = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
    error.description = f"<ErrorResponse><Errors><Error>{inner}</Error></Errors></ErrorResponse>"
    return error


def offered(kind: str, region: str) -> list[str]:
    """Return the zones of a region that offer an instance type."""
    entries = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return sorted({entry["Location"] for entry in entries if entry["InstanceType"] == kind})


def default_credits(kind: str) -> str:
    """Return the CPU credit option a burstable type gets by itself."""
    return "standard" if kind.startswith("t2.") else "unlimited"


def launch_problem(call: Any) -> EC2ClientError | None:
    """Return the error AWS gives for a launch that moto would let pass."""
    kind = call._get_param("InstanceType")
    region = call.region
    zone = zone_of(call)
    asked = call._get_param("Placement.AvailabilityZone") or zone
    ami = call.ec2_backend.amis.get(call._get_param("ImageId"))
    key = call._get_param("KeyName")
    if key and key not in call.ec2_backend.key_pairs:
        return EC2ClientError("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")
    if kind and not offered(kind, region):
        return EC2ClientError("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    if kind and asked and asked.startswith(region) and asked not in offered(kind, region):
        zones = ", ".join(offered(kind, region))
        return EC2ClientError(
            "Unsupported",
            f"Your requested instance type ({kind}) is not supported in your requested Availability Zone ({asked}). "
            f"Please retry your request by not specifying an Availability Zone or choosing {zones}.",
        )
    if kind and ami and ami.architecture not in INSTANCE_TYPES[kind]["ProcessorInfo"]["SupportedArchitectures"]:
        own = ",".join(INSTANCE_TYPES[kind]["ProcessorInfo"]["SupportedArchitectures"])
        return EC2ClientError(
            "InvalidParameterValue",
            f"The architecture '{own}' of the specified instance type does not match the architecture "
            f"'{ami.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching "
            "architectures.",
        )
    for mapping in call._get_param("BlockDeviceMappings", []) if ami else []:
        size = mapping.get("Ebs", {}).get("VolumeSize")
        if mapping.get("DeviceName") == ami.root_device_name and size and int(size) < ROOT_DISK_GB:
            return EC2ClientError(
                "InvalidBlockDeviceMapping",
                f"Volume of size {size}GB is smaller than snapshot '{ami.ebs_snapshot.id}', "
                f"expect size>= {ROOT_DISK_GB}GB",
            )
    return None


def zone_of(call: Any) -> str | None:
    """Return the zone a RunInstances call asks for, by name or by its subnet."""
    zone = call._get_param("Placement.AvailabilityZone")
    if zone:
        return str(zone)
    nics = call._get_param("NetworkInterfaces", [])
    subnet = call._get_param("SubnetId") or next((nic["SubnetId"] for nic in nics if "SubnetId" in nic), None)
    for zones in call.ec2_backend.subnets.values() if subnet else ():
        if subnet in zones:
            return str(zones[subnet].availability_zone)
    return None


def launching(runnable: Callable[[str], str]) -> None:
    """RunInstances keeps what it was told: protection, CPU credits, disk speed, and the client token's promise."""

    @wrap(InstanceResponse, "run_instances")
    def _run(original: Any, self: Any) -> ActionResult:
        token = self._get_param("ClientToken")
        for reservation in self.ec2_backend.reservations.values() if token else ():
            if reservation.instances and reservation.instances[0].client_token == token:
                return ActionResult(reservation)
        problem = launch_problem(self)
        if problem:
            raise problem
        reason = runnable(self._get_param("ImageId") or "")
        if reason:
            raise EC2ClientError("Unsupported", reason)
        result: ActionResult = original(self)
        mappings = {
            mapping["DeviceName"]: mapping.get("Ebs", {}) for mapping in self._get_param("BlockDeviceMappings", [])
        }
        for instance in result.result.instances:  # type: ignore[attr-defined]
            protected = str(self._get_param("DisableApiTermination") or "false").lower() == "true"
            instance.disable_api_termination = protected
            wanted = self._get_param("CreditSpecification.CpuCredits")
            instance.cpu_credits = wanted or default_credits(instance.instance_type)
            for one in self._get_param("TagSpecifications", []):
                if one["ResourceType"] == "network-interface":  # moto tags instances and volumes only
                    tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
                    self.ec2_backend.create_tags([nic.id for nic in instance.nics.values()], tags)
            for device, block in instance.get_block_device_mapping:
                volume = self.ec2_backend.get_volume(block.volume_id)
                fast = volume.volume_type == "gp3"
                asked = mappings.get(device, {})
                volume.iops = int(asked.get("Iops") or (3000 if fast else 0)) or None
                volume.throughput = int(asked.get("Throughput") or (125 if fast else 0)) or None
                if device == instance.root_device_name and "DeleteOnTermination" not in asked:
                    block.delete_on_termination = True
        return result

    @wrap(instances.InstanceBackend, "run_instances")
    def _place(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        # Without a subnet AWS takes a default one, in the zone asked for or one that has the type.
        if not kwargs.get("subnet_id") and not any("SubnetId" in nic for nic in kwargs.get("nics", [])):
            zones = (
                [kwargs["placement"]] if kwargs.get("placement") else offered(kwargs["instance_type"], self.region_name)
            )
            subnets = self.get_default_subnets()
            found = next((subnets[zone].id for zone in zones if zone in subnets), None)
            if found and not kwargs.get("nics"):
                kwargs["subnet_id"] = found
        return original(self, *args, **kwargs)

    @wrap(instances.InstanceBackend, "start_instances")
    def _start(original: Any, self: Any, ids: list[str]) -> Any:
        for instance in self.get_multi_instances_by_id(ids):
            if instance.state == "terminated":
                raise EC2ClientError(
                    "IncorrectInstanceState",
                    f"The instance '{instance.id}' is not in a state from which it can be started.",
                )
        return original(self, ids)

    @wrap(instances.InstanceBackend, "reboot_instances")
    def _reboot(original: Any, self: Any, ids: list[str]) -> Any:
        for instance in self.get_multi_instances_by_id(ids):
            if instance.state != "running":
                raise EC2ClientError(
                    "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'running' state."
                )
            instance.reboots = getattr(instance, "reboots", 0) + 1
        return original(self, ids)


def attributes() -> None:
    """Attributes of an instance that can be set and read back as on AWS."""

    @wrap(InstanceResponse, "modify_instance_attribute")
    def _modify(original: Any, self: Any) -> Any:
        behaviour = self._get_param("InstanceInitiatedShutdownBehavior.Value")
        if behaviour is None:
            return original(self)
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        if behaviour not in ("stop", "terminate"):
            raise EC2ClientError(
                "InvalidParameterValue", f"Invalid value '{behaviour}' for InstanceInitiatedShutdownBehavior."
            )
        instance.instance_initiated_shutdown_behavior = behaviour
        return core.EmptyResult()

    @wrap(instances.InstanceBackend, "modify_instance_attribute")
    def _set(original: Any, self: Any, instance_id: str, key: str, value: Any) -> Any:
        if key == "instance_type":
            if self.get_instance(instance_id).state != "stopped":
                raise EC2ClientError(
                    "IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state."
                )
            if not offered(value, self.region_name):
                raise EC2ClientError("InvalidInstanceAttributeValue", f"Invalid value '{value}' for InstanceType.")
        return original(self, instance_id, key, value)

    @wrap(instances.InstanceBackend, "modify_instance_metadata_options")
    def _metadata(original: Any, self: Any, instance_id: str, *args: Any, **kwargs: Any) -> Any:
        before = copy.copy(self.get_instance(instance_id).metadata_options)
        after = original(self, instance_id, *args, **kwargs)
        for name, value in vars(before).items():
            if getattr(after, name) is None or (
                name == "http_put_response_hop_limit" and kwargs.get("hop_limit") is None
            ):
                setattr(after, name, value)
        return after

    def describe_credits(self: Any) -> ActionResult:
        found = self.ec2_backend.describe_instance_credit_specifications(self._get_param("InstanceIds", []))
        return ActionResult(
            {
                "InstanceCreditSpecifications": [
                    {
                        "InstanceId": instance.id,
                        "CpuCredits": getattr(instance, "cpu_credits", default_credits(instance.instance_type)),
                    }
                    for instance in found
                ]
            }
        )

    def modify_credits(self: Any) -> ActionResult:
        done = []
        for entry in self._get_param("InstanceCreditSpecifications", []):
            self.ec2_backend.get_instance(entry["InstanceId"]).cpu_credits = entry["CpuCredits"]
            done.append({"InstanceId": entry["InstanceId"]})
        return ActionResult(
            {"SuccessfulInstanceCreditSpecifications": done, "UnsuccessfulInstanceCreditSpecifications": []}
        )

    InstanceResponse.describe_instance_credit_specifications = describe_credits  # type: ignore[method-assign]
    InstanceResponse.modify_instance_credit_specification = modify_credits  # type: ignore[attr-defined]


def profiles() -> None:
    """An instance profile that there is none of, in EC2's words; another profile in the place of the first."""

    def check(call: Any) -> None:
        from moto.iam.models import iam_backends

        known = iam_backends[call.current_account][call.partition].instance_profiles.values()
        name, arn = call._get_param("IamInstanceProfile.Name"), call._get_param("IamInstanceProfile.Arn")
        for kind, value, there in (("name", name, {p.name for p in known}), ("arn", arn, {p.arn for p in known})):
            if value and value not in there:
                raise EC2ClientError(
                    "InvalidParameterValue",
                    f"Value ({value}) for parameter iamInstanceProfile.{kind} is invalid. "
                    f"Invalid IAM Instance Profile {kind}",
                )

    def checked(original: Any, self: Any) -> Any:
        check(self)
        return original(self)

    wrap(InstanceResponse, "run_instances")(checked)
    wrap(IamInstanceProfiles, "associate_iam_instance_profile")(checked)
    wrap(IamInstanceProfiles, "replace_iam_instance_profile_association")(checked)

    @wrap(EC2Backend, "replace_iam_instance_profile_association")
    def _replace(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        association = original(self, *args, **kwargs)
        profile = association.iam_instance_profile
        association.instance.iam_instance_profile = {"Arn": profile.arn, "Id": association.association_id}
        return association


def errors(faults: Faults) -> None:
    """Faults on request, before moto does anything."""

    @wrap(core.BaseResponse, "call_action")
    def _call(original: Any, self: Any) -> Any:
        action = self._get_action()
        zone = zone_of(self) if action == "RunInstances" and faults.zoned(action) else None
        fault = faults.take(action, zone) if action else None
        if fault:
            # moto looks up the service's error format by the module of the error.
            kind = type("InjectedError", (ServiceException,), {"__module__": f"moto.{self.service_name}.exceptions"})
            error = kind(fault.code, fault.message)
            name = camelcase_to_underscores(action)
            usual = getattr(self, name)

            def fail() -> Any:
                done = usual() if fault.after else None
                if fault.after and fault.code.startswith(("Client.", "Server.")):
                    end_at_once(self.ec2_backend, done, fault.code, fault.message)
                    return done
                raise error

            setattr(self, name, fail)
        return original(self)


def end_at_once(backend: EC2Backend, answer: Any, code: str, message: str) -> None:
    """Terminate what a call has just launched, as AWS does when a disk cannot be made or its key not be used."""
    ids = [instance.id for instance in answer.result.instances]
    backend.terminate_instances(ids)
    for instance in backend.get_multi_instances_by_id(ids):
        instance.state_reason.code, instance.state_reason.message = code, f"{code}: {message}"


__all__ = ["INSTANCE_TYPES", "apply"]
