"""deploy/k8s, rendered by the real kustomize: valid, and as we want it. Both checks can fail."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from mailwake import rights
from mailwake.settings import read_settings
from mailwake.topics_render import render_strimzi
from tests.deploy import policy, validation
from tests.deploy.rendering import K8S, Object, kustomize, render

OVERLAYS = sorted((K8S / "overlays").iterdir())
COMPONENTS = sorted((K8S / "components").iterdir())
STORES = sorted((K8S / "stores").iterdir())


@pytest.fixture(scope="module", autouse=True)
def real_kustomize() -> None:
    command, missing = kustomize()
    if not command:
        pytest.skip(f"manifests are not rendered: {missing}")


@cache
def rendered(folder: Path) -> list[Object]:
    return render(folder)


@pytest.mark.parametrize("folder", [*OVERLAYS, *STORES], ids=lambda each: each.name)
def test_every_object_is_valid(folder: Path) -> None:
    assert validation.faults(rendered(folder)) == []


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda each: each.name)
def test_an_overlay_keeps_the_policy(folder: Path) -> None:
    assert policy.faults(rendered(folder)) == []


OF_ALL = ("kafka-users", "clickhouse-tls")
"""Components that every overlay names: the stores of deploy/k8s/stores let nobody in without."""


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda each: each.name)
def test_an_overlay_speaks_to_the_stores_securely(overlay: Path) -> None:
    named = yaml.safe_load((overlay / "kustomization.yaml").read_text("utf-8"))["components"]
    assert {f"../../components/{each}" for each in OF_ALL} <= {*named}


@pytest.mark.parametrize(
    "component",
    [each for each in COMPONENTS if each.name not in OF_ALL],
    ids=lambda each: each.name,
)
def test_a_component_goes_with_an_overlay(component: Path, tmp_path: Path) -> None:
    def seen_from_here(folder: Path) -> str:
        return os.path.relpath(folder, tmp_path.resolve())

    mine = {
        "resources": [seen_from_here(K8S / "overlays" / "small")],
        "components": [seen_from_here(component)],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(mine))
    objects = render(tmp_path)
    assert objects != rendered(K8S / "overlays" / "small")
    assert validation.faults(objects) + policy.faults(objects) == []


def test_strimzi_gets_the_topics_that_we_make() -> None:
    written = (K8S / "stores" / "kafka" / "topics.yaml").read_text("utf-8")
    assert written == render_strimzi(read_settings({}), "mailwake"), (
        "run: mailwake topics render --strimzi mailwake > deploy/k8s/stores/kafka/topics.yaml"
    )


def test_strimzi_gets_the_users_that_we_have() -> None:
    written = (K8S / "stores" / "kafka" / "users.yaml").read_text("utf-8")
    assert written == rights.render_strimzi(read_settings({}), "mailwake"), (
        "run: mailwake acls render --strimzi mailwake > deploy/k8s/stores/kafka/users.yaml"
    )


def store(name: str, kind: str) -> Object:
    """The one object of a kind in a store."""
    (found,) = (each for each in rendered(K8S / "stores" / name) if each["kind"] == kind)
    return found


def test_the_stores_let_nobody_in_but_with_tls() -> None:
    """And as a user, at the ports where the services look for them."""
    kafka = store("kafka", "Kafka")["spec"]
    (listener,) = kafka["kafka"]["listeners"]
    assert (listener["tls"], listener["authentication"]) == (True, {"type": "scram-sha-512"})
    assert kafka["kafka"]["authorization"] == {"type": "simple"}
    assert "userOperator" in kafka["entityOperator"]
    assert listener["port"] == ports(small(), "to-kafka")[0]["port"]
    clickhouse = store("clickhouse", "ClickHouseInstallation")["spec"]
    (port,) = (each["port"] for each in ports(small(), "to-clickhouse"))
    assert clickhouse["configuration"]["settings"]["tcp_port_secure"] == port
    (service,) = clickhouse["templates"]["serviceTemplates"]
    assert [each["port"] for each in service["spec"]["ports"]] == [port]
    opened = store("clickhouse", "NetworkPolicy")["spec"]["ingress"][0]["ports"]
    assert [each["port"] for each in opened] == [port]


SCALERS: dict[str, Callable[[Object, Object], Any]] = {
    "asks another Kafka": lambda trigger, _: trigger["metadata"].update(bootstrapServers="k:9092"),
    "without TLS or without a user": lambda trigger, _: trigger["metadata"].pop("sasl"),
    "no TriggerAuthentication of the user lag": lambda _, by: by["secretTargetRef"].pop(),
}


@pytest.mark.parametrize("said", SCALERS)
def test_the_policy_finds_of_scalers(said: str) -> None:
    objects = copy.deepcopy(rendered(K8S / "overlays" / "large"))
    by_kind = {each["kind"]: each.get("spec", {}) for each in objects}
    SCALERS[said](by_kind["ScaledObject"]["triggers"][0], by_kind["TriggerAuthentication"])
    assert said in "\n".join(policy.faults(objects))


# What must not pass: a change of the small overlay, and a part of what is said of it.
Break = Callable[[dict[str, Object]], Any]
Container = dict[str, Any]


def container(objects: dict[str, Object], name: str) -> Container:
    found: Container = objects[name]["spec"]["template"]["spec"]["containers"][0]
    return found


def pod(objects: dict[str, Object], name: str) -> dict[str, Any]:
    found: dict[str, Any] = objects[name]["spec"]["template"]["spec"]
    return found


def variable(objects: dict[str, Object], name: str, called: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (each for each in container(objects, name)["env"] if each["name"] == called)
    return found


def secret(objects: dict[str, Object], name: str, called: str) -> dict[str, Any]:
    of_secrets = (each["secret"] for each in pod(objects, name)["volumes"] if "secret" in each)
    found: dict[str, Any]
    (found,) = (each for each in of_secrets if each["secretName"] == called)
    return found


def ports(objects: dict[str, Object], policy: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = objects[f"NetworkPolicy/{policy}"]["spec"]["egress"][0]["ports"]
    return found


DRAIN = {"name": "MAILWAKE_DRAIN_S", "value": "10"}
EDGE, API, LOADER = "StatefulSet/edge", "Deployment/api", "Deployment/loader"
BROKEN: dict[str, Break] = {
    "the service loader is deployed nowhere": lambda o: o.pop(LOADER),
    "api-keys2 is no command": lambda o: container(o, API).update(args=["api-keys2"]),
    "latest is not of this version": lambda o: container(o, EDGE).update(image="a/edge:latest"),
    "StatefulSet/edge: runs as root": lambda o: pod(o, EDGE)["securityContext"].update(runAsUser=0),
    "has no seccomp profile": lambda o: pod(o, EDGE)["securityContext"].pop("seccompProfile"),
    "may escalate": lambda o: container(o, API)["securityContext"].pop("allowPrivilegeEscalation"),
    "has capabilities": lambda o: container(o, API)["securityContext"].pop("capabilities"),
    "may write its root": lambda o: container(o, API)["securityContext"].update(
        readOnlyRootFilesystem=False
    ),
    "Job/migrate: has a token": lambda o: pod(o, "Job/migrate").pop("automountServiceAccountToken"),
    "CronJob/retention: has a token": lambda o: o["CronJob/retention"]["spec"]["jobTemplate"][
        "spec"
    ]["template"]["spec"].pop("automountServiceAccountToken"),
    "gets service links": lambda o: pod(o, EDGE).update(enableServiceLinks=True),
    "does not enforce": lambda o: o["Namespace/mailwake"]["metadata"]["labels"].clear(),
    "no ServiceAccount of its own": lambda o: pod(o, API).pop("serviceAccountName"),
    "has no limits of memory": lambda o: container(o, LOADER)["resources"]["limits"].pop("memory"),
    "its livenessProbe does not ask": lambda o: container(o, LOADER)["livenessProbe"].update(
        httpGet={"path": "/", "port": "ops"}
    ),
    "its readinessProbe does not ask": lambda o: container(o, API).pop("readinessProbe"),
    "MAILWAKE_OPS_PROT is not a setting; did you mean": lambda o: o["ConfigMap/mailwake-settings"][
        "data"
    ].update(MAILWAKE_OPS_PROT="1"),
    "MAILWAKE_EDGE_PORT is no port": lambda o: variable(o, EDGE, "MAILWAKE_EDGE_PORT").update(
        value="8024"
    ),
    "belongs into a Secret": lambda o: o["ConfigMap/mailwake-settings"]["data"].update(
        CLICKHOUSE_URL=policy.SECRETS["CLICKHOUSE_URL"]
    ),
    "CLICKHOUSE_URL does not come from a Secret": lambda o: container(o, LOADER).update(
        env=[{"name": "CLICKHOUSE_URL", "value": policy.SECRETS["CLICKHOUSE_URL"]}]
    ),
    "everybody in the pod may read": lambda o: secret(o, EDGE, "mailwake-keys").update(
        defaultMode=0o644
    ),
    "closes what none opens": lambda o: o.pop("NetworkPolicy/nothing-else"),
    "lets anybody to its port http": lambda o: o.pop("NetworkPolicy/to-edge"),
    "lets anybody in": lambda o: o["NetworkPolicy/to-api"]["spec"]["ingress"][0].pop("from"),
    "opens port 8000, which": lambda o: o["NetworkPolicy/to-api"]["spec"]["ingress"][0][
        "ports"
    ].append({"protocol": "TCP", "port": 8000}),
    "and the label mailwake/clickhouse go": lambda o: o["Deployment/notifier"]["spec"]["template"][
        "metadata"
    ]["labels"].update({"mailwake/clickhouse": "yes"}),
    "Kafka is not spoken to with TLS": lambda o: o["ConfigMap/mailwake-settings"]["data"].update(
        KAFKA_SECURITY="sasl_plaintext"
    ),
    "its user of Kafka is not mailwake-edge": lambda o: variable(o, EDGE, "KAFKA_USER").update(
        value="mailwake-relay"
    ),
    "its user of Kafka is not mailwake-setup": lambda o: variable(
        o, "Job/topics", "KAFKA_USER"
    ).update(value="mailwake-topics"),
    "no file of the Secret mailwake-kafka-edge": lambda o: secret(
        o, EDGE, "mailwake-kafka-edge"
    ).update(secretName="mailwake-kafka-relay"),
    "no file of the Secret mailwake-kafka-ca": lambda o: secret(
        o, EDGE, "mailwake-kafka-ca"
    ).update(secretName="mailwake-keys"),
    "ClickHouse is not spoken to with TLS": lambda o: variable(o, LOADER, "CLICKHOUSE_URL").update(
        value="clickhouse://mailwake@clickhouse:9000/mailwake"
    ),
    "no file of the Secret mailwake-clickhouse-ca": lambda o: variable(
        o, LOADER, "CLICKHOUSE_CA"
    ).update(value="/etc/ssl/ca.crt"),
    "retention: CLICKHOUSE_PASSWORD_FILE is no file": lambda o: o["CronJob/retention"]["spec"][
        "jobTemplate"
    ]["spec"]["template"]["spec"].pop("volumes"),
    "edge: has the Secret mailwake-clickhouse, which": lambda o: secret(
        o, EDGE, "mailwake-kafka-edge"
    ).update(secretName="mailwake-clickhouse"),
    "to-kafka does not open": lambda o: ports(o, "to-kafka")[0].update(port=9092),
    "to-clickhouse does not open": lambda o: ports(o, "to-clickhouse").append(
        {"protocol": "TCP", "port": 9000}
    ),
    "Service/api: leads to no port": lambda o: o["Service/api"]["spec"]["ports"][0].update(
        targetPort="web"
    ),
    "has no headless Service": lambda o: o.pop("Service/edge-pods"),
    "Ingress/api: leads to no Service": lambda o: o.pop("Service/api"),
    "t.acme.example has no TLS": lambda o: o["Ingress/edge"]["spec"]["tls"].pop(),
    "t.acme.example: is not both": lambda o: o["Ingress/edge"]["spec"]["rules"].pop(),
    "serves more or less than": lambda o: o["Ingress/edge"]["spec"]["rules"][0]["http"][
        "paths"
    ].pop(),
    "is on no volume that lasts": lambda o: o[EDGE]["spec"].pop("volumeClaimTemplates"),
    "too small for the spool": lambda o: variable(o, EDGE, "MAILWAKE_EDGE_SPOOL_MB").update(
        value="2048"
    ),
    "is not the pod's name": lambda o: container(o, "StatefulSet/enricher").update(env=[]),
    "no PodDisruptionBudget holds it": lambda o: o.pop("PodDisruptionBudget/edge"),
    "is not spread": lambda o: pod(o, EDGE).pop("topologySpreadConstraints"),
    "less than 30 s to end": lambda o: pod(o, EDGE).update(terminationGracePeriodSeconds=30),
    "does not wait before it goes": lambda o: container(o, API)["env"].remove(DRAIN),
    "though HorizontalPodAutoscaler/edge says": lambda o: o[EDGE]["spec"].update(replicas=3),
    "is no range": lambda o: o["HorizontalPodAutoscaler/edge"]["spec"].update(minReplicas=9),
    "9 workers for 8 partitions": lambda o: o["StatefulSet/enricher"]["spec"].update(replicas=9),
}


def small() -> dict[str, Object]:
    objects = copy.deepcopy(rendered(K8S / "overlays" / "small"))
    return {validation.name_of(each): each for each in objects}


@pytest.mark.parametrize("said", BROKEN)
def test_the_policy_finds(said: str) -> None:
    objects = small()
    BROKEN[said](objects)
    assert said in "\n".join(policy.faults(list(objects.values())))


INVALID: dict[str, Break] = {
    "StatefulSet/edge: spec": lambda o: o[EDGE]["spec"].update(replica=3),
    "'three' is not": lambda o: o[EDGE]["spec"].update(replicas="three"),
    "Deployment/api: spec.template.spec.containers.0": lambda o: container(o, API).update(
        readinesProbe={}
    ),
    "no schema for": lambda o: o[API].update(apiVersion="apps/v9"),
    "NetworkPolicy/to-api": lambda o: (
        (o["NetworkPolicy/to-api"]["spec"].pop("podSelector") and None)
        or o["NetworkPolicy/to-api"]["spec"].update(podSelectr={})
    ),
}


@pytest.mark.parametrize("said", INVALID)
def test_the_validator_finds(said: str) -> None:
    objects = small()
    INVALID[said](objects)
    assert said in "\n".join(validation.faults(list(objects.values())))


@pytest.mark.parametrize(
    ("folder", "kind", "wrong", "said"),
    [
        ("overlays/large", "ScaledObject", {"maxReplicas": 3}, "'maxReplicas' was unexpected"),
        ("stores/kafka", "KafkaTopic", {"partitions": 0}, "less than the minimum"),
        ("stores/kafka", "Kafka", {"zookeeper": {}}, "'zookeeper' was unexpected"),
        ("stores/kafka", "KafkaUser", {"quota": {}}, "'quota' was unexpected"),
        ("overlays/large", "TriggerAuthentication", {"secrets": []}, "'secrets' was unexpected"),
        ("stores/kafka", "KafkaNodePool", {"roles": ["zookeeper"]}, "is not one of"),
        ("stores/clickhouse", "ClickHouseInstallation", {"replicas": 2}, "was unexpected"),
    ],
)
def test_the_validator_knows_custom_resources(
    folder: str, kind: str, wrong: Object, said: str
) -> None:
    objects = copy.deepcopy(rendered(K8S / folder))
    next(each for each in objects if each["kind"] == kind)["spec"].update(wrong)
    assert said in "\n".join(validation.faults(objects))


def test_the_validator_looks_into_the_pods_of_custom_resources() -> None:
    objects = copy.deepcopy(rendered(K8S / "stores" / "clickhouse"))
    (chi,) = (each for each in objects if each["kind"] == "ClickHouseInstallation")
    chi["spec"]["templates"]["podTemplates"][0]["spec"]["securityContex"] = {}
    assert "securityContex" in "\n".join(validation.faults(objects))


def test_a_broken_kustomization_is_told(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["missing.yaml"]}))
    with pytest.raises(AssertionError, match=r"missing\.yaml"):
        render(tmp_path)
