# What a program does with Azure's SDK for Python: each line says what came back.
import datetime
import sys

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import CertificateCredential, ClientSecretCredential
from azure.mgmt.security import SecurityCenter

url, tenant, client, secret, certificate, subscription, group, location, vm = sys.argv[1:]
# The switch has had two names.
options = {"authority": url, "disable_instance_discovery": True, "instance_discovery": False}
port = {"number": 2200, "protocol": "TCP", "allowed_source_address_prefix": "*", "max_request_access_duration": "PT1H"}
soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)

for name, credential in (
    ("python-secret", ClientSecretCredential(tenant, client, secret, **options)),
    ("python-certificate", CertificateCredential(tenant, client, certificate, **options)),
):
    jit = SecurityCenter(credential, subscription, base_url=url, credential_scopes=[url + "/.default"]).jit_network_access_policies
    here = (group, location, name)
    put = jit.create_or_update(*here, {"kind": "Basic", "virtual_machines": [{"id": vm, "ports": [port]}]})
    print("put", put.name, put.provisioning_state)
    for pages in (jit.list(), jit.list_by_region(location), jit.list_by_resource_group(group), jit.list_by_resource_group_and_region(group, location)):
        print("list", name in [p.name for p in pages])
    asked = jit.initiate(*here, {"virtual_machines": [{"id": vm, "ports": [{"number": 2200, "end_time_utc": soon}]}], "justification": "python"})
    print("initiate", asked.virtual_machines[0].ports[0].status, asked.justification)
    got = jit.get(*here)
    print("get", got.provisioning_state, len(got.requests), got.requests[0].virtual_machines[0].ports[0].status_reason)
    try:
        jit.initiate(*here, {"virtual_machines": [{"id": vm, "ports": [{"number": 23, "end_time_utc": soon}]}]})
    except HttpResponseError as e:
        print("initiate", e.status_code, e.error.code)
    jit.delete(*here)
    try:
        jit.get(*here)
    except HttpResponseError as e:
        print("get", e.status_code, e.error.code)

try:
    ClientSecretCredential(tenant, client, "wrong", **options).get_token(url + "/.default")
except ClientAuthenticationError as e:
    print("token", "AADSTS7000215" in e.message)
