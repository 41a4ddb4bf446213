"""The ways in which people sign in to AWS, and what is said when one of them does not work."""

from __future__ import annotations

from pathlib import Path

import botocore.credentials
import botocore.exceptions as aws
import pytest

from plugins.modules import ec2_offer_info


def refused(code: str, text: str) -> aws.ClientError:
    return aws.ClientError({"Error": {"Code": code, "Message": text}}, "GetCallerIdentity")


def test_aws_login_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What botocore really does with a profile of `aws login` when awscrt is not there."""
    (tmp_path / "config").write_text(
        "[profile ann]\nlogin_session = arn:aws:iam::123456789012:user/ann\nregion = us-west-2\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(botocore.credentials, "EC", None)
    with pytest.raises(ec2_offer_info.Refusal) as refusal:
        ec2_offer_info.check_login("ann")
    assert str(refusal.value) == (
        "The AWS profile signs in with `aws login`, and for that a package is missing here (botocore[crt]): run `make setup` again, then "
        "the same command."
    )


@pytest.mark.parametrize("error", [aws.LoginRefreshRequired(), refused("ExpiredToken", "The token is expired")])
def test_signing_in_again_is_a_whole_sentence(error: Exception) -> None:
    said = ec2_offer_info.explain(error, "look")
    assert said.startswith("The AWS credentials have expired (")
    assert said.endswith(": sign in again (`aws login`, `aws sso login`, or new keys), then run the same command.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "Signature expired: 20261129T080000Z is now earlier than 20261129T083500Z (20261129T084000Z - 5 min.)",
            "This machine's clock is 40 minutes behind of AWS's",
        ),
        (
            "Signature not yet current: 20261129T090000Z is still later than 20261129T084500Z (20261129T084000Z + 5 min.)",
            "This machine's clock is 20 minutes ahead of AWS's",
        ),
    ],
)
def test_a_clock_that_is_wrong_is_not_called_wrong_credentials(text: str, says: str) -> None:
    said = ec2_offer_info.explain(refused("SignatureDoesNotMatch", text), "look")
    assert said.startswith(says)
    assert "timedatectl" in said
    other = ec2_offer_info.explain(refused("SignatureDoesNotMatch", "The signature does not match"), "look")
    assert other.startswith("AWS does not accept these credentials")


def test_no_answer_is_a_sentence_too() -> None:
    """An error of the connection has a response that is None."""
    for error in (
        aws.ReadTimeoutError(endpoint_url="https://sts"),
        aws.ConnectTimeoutError(endpoint_url="https://sts"),
    ):
        assert ec2_offer_info.explain(error, "look").startswith("AWS cannot be reached (")
