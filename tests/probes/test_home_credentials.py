"""Writing home from another partition: the secret's key, and what is wrong with it."""

import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from chalicelib import probe_run
from chalicelib.probe_run import CredentialsError, home_credentials
from moto import mock_aws

from cloudping.settings import Settings, load

CHINA = "cn-north-1"


@pytest.fixture
def secrets() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("secretsmanager", region_name=CHINA)
    probe_run.client.cache_clear()


def settings(secret: str = "cloudping/home") -> Settings:  # noqa: S107 - a name
    return load({"AWS_DEFAULT_REGION": CHINA, "CLOUDPING_HOME_CREDENTIALS": secret})


def test_the_client_signs_for_the_home_region_with_the_secrets_key(secrets: Any) -> None:
    key = {"access_key_id": "AKIAHOME", "secret_access_key": "there"}
    secrets.create_secret(Name="cloudping/home", SecretString=json.dumps(key))
    client = probe_run.client(settings())
    assert client.meta.region_name == "us-east-2"
    assert client.meta.endpoint_url == "https://dynamodb.us-east-2.amazonaws.com"
    assert client._request_signer._credentials.access_key == "AKIAHOME"


def test_without_a_secret_nothing_is_asked_for(secrets: Any) -> None:
    client = probe_run.client(load({"AWS_DEFAULT_REGION": "eu-west-1"}))
    # moto puts its own into the environment
    assert client._request_signer._credentials.access_key == os.environ["AWS_ACCESS_KEY_ID"]


@pytest.mark.parametrize("content", ["AKIA", "[]", '{"access_key_id": "AKIA"}'])
def test_a_secret_of_another_form_is_named_but_not_shown(secrets: Any, content: str) -> None:
    secrets.create_secret(Name="cloudping/home", SecretString=content)
    with pytest.raises(CredentialsError, match="cloudping/home in cn-north-1 is not") as caught:
        home_credentials(settings())
    assert "AKIA" not in str(caught.value)


def test_a_secret_that_is_not_there_is_named(secrets: Any) -> None:
    with pytest.raises(CredentialsError, match=r"secret other in cn-north-1: .*ResourceNotFound"):
        home_credentials(settings("other"))
