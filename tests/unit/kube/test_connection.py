"""The connection to the API server, and the proxy that the environment may name for it."""

import pytest
from kubernetes.aio import client

from kubeqpu.kube.connection import spare_lookups

HOST = "https://10.96.0.1:443"
PROXY = "http://proxy.example:3128"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.mark.parametrize(
    ("environment", "is_looked_up"),
    [
        ({}, False),
        ({"HTTPS_PROXY": PROXY}, True),
        ({"https_proxy": PROXY}, True),
        ({"HTTP_PROXY": PROXY}, False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.org,10.96.0.1"}, False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.org"}, True),
    ],
)
async def test_a_proxy_is_looked_up_only_where_there_is_one(
    environment: dict[str, str], is_looked_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    configuration = client.Configuration(host=HOST)

    spare_lookups(configuration)

    async with client.ApiClient(configuration) as api_client:
        session = api_client.rest_client._create_pool_manager()
        assert session.trust_env is is_looked_up
        await session.close()
