from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from cloudtune.aws.session import FIRST_CALL_ATTEMPTS, AwsSession
from cloudtune.errors import AccessDenied, CloudtuneError, ResourceNotFound, SpecError, Unreachable

ACCOUNT = "123456789012"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


class Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._data


def answer(session: AwsSession, service: str, operation: str, status: int, body: str) -> list[Any]:
    """Every such call gets this answer; returns the requests."""
    seen: list[Any] = []

    def hook(request: Any, **_: Any) -> AWSResponse:
        seen.append(request)
        return AWSResponse(request.url, status, {}, Body(body.encode()))

    session.client(service).meta.events.register(f"before-send.{service}.{operation}", hook)
    return seen


def identity(session: AwsSession, arn: str) -> None:
    answer(
        session,
        "sts",
        "GetCallerIdentity",
        200,
        f"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn><UserId>u</UserId>"
        f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
    )


def make_role(session: AwsSession, name: str, path: str = "/", trust: dict[str, Any] = TRUST) -> str:
    role = session.client("iam").create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))
    return str(role["Role"]["Arn"])


def test_region(environ: dict[str, str], tmp_path: Path) -> None:
    assert AwsSession(environ=environ).region == "us-west-2"
    assert AwsSession("eu-west-1", environ=environ).region == "eu-west-1"
    del environ["AWS_REGION"]
    environ["AWS_DEFAULT_REGION"] = "eu-central-1"
    assert AwsSession(environ=environ).region == "eu-central-1"
    del environ["AWS_DEFAULT_REGION"]
    config = tmp_path / "config"
    config.write_text("[default]\nregion = ap-south-1\n[profile p]\nregion = us-gov-west-1\n")
    environ["AWS_CONFIG_FILE"] = str(config)
    assert AwsSession(environ=environ).region == "ap-south-1"
    del environ["AWS_ACCESS_KEY_ID"]
    environ["AWS_PROFILE"] = "p"
    assert AwsSession(environ=environ).region == "us-gov-west-1"
    environ["AWS_PROFILE"] = "absent"
    with pytest.raises(SpecError, match="Known profiles: default, p"):
        AwsSession(environ=environ)


def test_bad_input_is_refused_at_the_door(environ: dict[str, str]) -> None:
    for url in ("127.0.0.1:5000", "ftp://x", "http://", "http://h:port"):
        with pytest.raises(SpecError, match="no endpoint"):
            AwsSession(endpoint_url=url, environ=environ)
    with pytest.raises(SpecError, match="no AWS region"):
        AwsSession("the moon", environ=environ)
    environ["AWS_ENDPOINT_URL"] = "localhost"
    with pytest.raises(SpecError, match="no endpoint"):
        AwsSession(environ=environ).client("s3")


def test_endpoint_is_honoured_for_every_service(environ: dict[str, str]) -> None:
    given = AwsSession(endpoint_url="http://127.0.0.1:1", environ=environ)
    environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:2"
    environ["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:3"
    from_environ = AwsSession(environ=environ)
    for service in ("s3", "sts", "iam", "sagemaker", "logs", "service-quotas"):
        assert given.client(service).meta.endpoint_url == "http://127.0.0.1:1"
        expected = "http://127.0.0.1:3" if service == "s3" else "http://127.0.0.1:2"
        assert from_environ.client(service).meta.endpoint_url == expected


def test_the_environment_of_the_process_is_the_default(
    moto_url: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**environ, "AWS_REGION": "eu-west-3", "AWS_ENDPOINT_URL": moto_url}.items():
        monkeypatch.setenv(name, value)
    session = AwsSession()
    assert (session.region, session.endpoint_url, session.account_id()) == ("eu-west-3", moto_url, ACCOUNT)
    assert session.has_credentials()


def test_clients_are_cached_over_threads_and_have_timeouts(session: AwsSession) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(session.client("sagemaker"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(client) for client in found}) == 1
    config = found[0].meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 60)
    assert config.retries == {"mode": "adaptive", "total_max_attempts": 8}
    assert session.client("s3").meta.config.retries == {"mode": "standard", "total_max_attempts": 8}


def test_has_credentials(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-process")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-process")
    assert AwsSession(environ=environ).has_credentials()
    del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    assert not AwsSession(environ=environ).has_credentials()
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    environ["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    assert AwsSession(environ=environ).has_credentials()


def test_a_metadata_service_that_never_answers_is_given_up_on(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        assert not AwsSession(environ=environ).has_credentials()
        silent.setblocking(False)
        connections = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                connections += 1
    assert 1 <= connections <= 2  # its second version is asked, and its first


def test_missing_credentials_say_what_to_do(moto_url: str, environ: dict[str, str]) -> None:
    del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    with pytest.raises(AccessDenied, match="aws configure"):
        AwsSession(endpoint_url=moto_url, environ=environ).account_id()


def test_default_bucket_is_made_once(session: AwsSession) -> None:
    name = f"sagemaker-us-west-2-{ACCOUNT}"
    assert session.default_bucket() == name
    assert session.client("s3").get_bucket_location(Bucket=name)["LocationConstraint"] == "us-west-2"
    assert AwsSession("us-west-2", session.endpoint_url, {**session._environ}).default_bucket() == name


def test_default_bucket_in_the_region_without_a_name(moto_url: str, session: AwsSession) -> None:
    east = AwsSession("us-east-1", moto_url, session._environ)
    assert east.default_bucket() == f"sagemaker-us-east-1-{ACCOUNT}"


def test_a_bucket_that_is_not_ours(session: AwsSession) -> None:
    requests = answer(session, "s3", "HeadBucket", 403, "")
    with pytest.raises(AccessDenied, match="not ours"):
        session.default_bucket()
    assert requests[0].headers["x-amz-expected-bucket-owner"] == ACCOUNT.encode()
    with pytest.raises(AccessDenied, match="not ours"):
        session.check_bucket("somebody-elses")


def test_check_bucket(session: AwsSession) -> None:
    session.client("s3").create_bucket(
        Bucket="mine-all-mine", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    assert session.check_bucket("mine-all-mine") == "mine-all-mine"
    with pytest.raises(ResourceNotFound, match="never-made"):
        session.check_bucket("never-made")


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_wrong_credentials(session: AwsSession, code: str) -> None:
    answer(
        session,
        "sts",
        "GetCallerIdentity",
        403,
        f"<ErrorResponse><Error><Code>{code}</Code><Message>The token is wrong.</Message></Error></ErrorResponse>",
    )
    with pytest.raises(AccessDenied, match="The token is wrong") as caught:
        session.default_bucket()
    assert caught.value.code == code
    assert "aws sts get-caller-identity" in caught.value.hint


def test_a_dead_endpoint_is_told_soon(environ: dict[str, str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        session = AwsSession(endpoint_url=f"http://127.0.0.1:{unused.getsockname()[1]}", environ=environ)
        tries: list[str] = []
        session.client("sts").meta.events.register(
            "before-send.sts", lambda request, **_: tries.append(request.url)
        )
        with pytest.raises(Unreachable, match="AWS_ENDPOINT_URL"):
            session.account_id()
        assert len(tries) == FIRST_CALL_ATTEMPTS


def test_a_service_that_fails_for_a_while_is_asked_again(session: AwsSession) -> None:
    failures = iter(range(FIRST_CALL_ATTEMPTS + 1))  # more than botocore tries

    def hook(request: Any, **_: Any) -> AWSResponse | None:
        if next(failures, None) is None:
            return None
        text = "<ErrorResponse><Error><Code>InternalFailure</Code><Message>Oh.</Message></Error></ErrorResponse>"
        return AWSResponse(request.url, 500, {}, Body(text.encode()))

    session.client("sts").meta.events.register("before-send.sts.GetCallerIdentity", hook)
    assert session.account_id() == ACCOUNT
    assert next(failures, None) is None


def test_a_web_page_instead_of_aws(session: AwsSession) -> None:
    answer(session, "sts", "GetCallerIdentity", 200, "<html>Sign in to the hotel's network")
    with pytest.raises(Unreachable):
        session.account_id()


def test_role_given_by_arn_name_or_environment(
    moto_url: str, session: AwsSession, environ: dict[str, str]
) -> None:
    arn = make_role(session, "tuning", "/team/ml/")
    assert arn == f"arn:aws:iam::{ACCOUNT}:role/team/ml/tuning"
    assert session.role_arn(arn) == arn
    assert session.role_arn("tuning") == arn
    for name in ("CLOUDTUNE_ROLE", "AWS_ROLE"):
        environ[name] = arn
        assert AwsSession(endpoint_url=moto_url, environ=environ).role_arn() == arn
        del environ[name]
    for wrong, message in [
        ("nobody", "no role 'nobody'"),
        ("arn:aws:iam::1:role/x", "is no role"),
        ("a/b", "is no"),
    ]:
        with pytest.raises(SpecError, match=message):
            session.role_arn(wrong)


def test_role_of_this_process_with_its_path(session: AwsSession) -> None:
    arn = make_role(session, "notebook", "/service-role/")
    identity(session, f"arn:aws:sts::{ACCOUNT}:assumed-role/notebook/SageMaker")
    assert session.role_arn() == arn


def test_role_of_this_process_that_may_not_look_at_itself(session: AwsSession) -> None:
    denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
    answer(session, "iam", "GetRole", 403, denied)
    identity(session, f"arn:aws-us-gov:sts::{ACCOUNT}:assumed-role/AmazonSageMaker-ExecutionRole-1/SageMaker")
    expected = f"arn:aws-us-gov:iam::{ACCOUNT}:role/service-role/AmazonSageMaker-ExecutionRole-1"
    assert session.role_arn() == expected


def test_role_that_sagemaker_may_not_assume_is_passed_over(session: AwsSession) -> None:
    admin = {**TRUST, "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
    make_role(session, "admin", trust=admin)
    identity(session, f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/me")
    with pytest.raises(SpecError, match="No role"):
        session.role_arn()
    client = session.client("iam")
    client.meta.events.register(
        "before-parameter-build.iam.ListRoles", lambda params, **_: params.update(MaxItems=2)
    )
    for number in range(5):
        make_role(session, f"zz-{number}")
    arn = make_role(session, "AmazonSageMaker-ExecutionRole-20261121", "/service-role/")
    assert session.role_arn() == arn


def test_errors_survive_pickling(session: AwsSession) -> None:
    import pickle

    with pytest.raises(ResourceNotFound) as caught:
        session.check_bucket("never-made")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, CloudtuneError)
    assert (str(copy), copy.code) == (str(caught.value), caught.value.code)


def test_a_dead_connection_to_s3_is_given_up_soon() -> None:
    """The last upload of a job has a minute: a connection that has died leaves time for another."""
    environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    session = AwsSession(endpoint_url="http://127.0.0.1:9", environ=environ)
    assert session.client("s3").meta.config.read_timeout <= 20
    assert session.client("sagemaker").meta.config.read_timeout == 60


def test_an_impatient_session_has_clients_of_its_own(session: AwsSession) -> None:
    tries: dict[str, int] = {"patient": 0, "impatient": 0}
    impatient = session.impatient()
    for name, made in (("patient", session), ("impatient", impatient)):
        config = made.client("sagemaker").meta.config
        assert config.read_timeout == (60 if name == "patient" else 20)
        assert config.retries["mode"] == ("adaptive" if name == "patient" else "standard")

        def fail(request: Any, name: str = name, **_: Any) -> AWSResponse:
            tries[name] += 1
            return AWSResponse(request.url, 400, {}, Body(b'{"__type": "ThrottlingException", "message": "no"}'))

        made.client("sagemaker").meta.events.register("before-send.sagemaker.*", fail)
    with pytest.raises(Exception, match="Throttling"):
        impatient.client("sagemaker").list_training_jobs()
    assert tries == {"patient": 0, "impatient": 2}
    assert impatient.client("sagemaker") is impatient.client("sagemaker")
    assert impatient.account_id() == session.account_id()
