"""What we ask of our manifests beyond their being valid: each rule gives its faults.

It is one list, by which a reader sees what is asked; each rule is a function by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from mailwake import __version__
from mailwake.cli import COMMANDS
from mailwake.errors import ConfigError
from mailwake.rights import SETUP, USER_PREFIX, rights
from mailwake.settings import Settings, read_settings
from mailwake.topics import registry, wanted_partitions
from tests.deploy.rendering import Object
from tests.deploy.validation import name_of

SERVICES = {each.name for each in COMMANDS if each.about.startswith("service:")}
"""The services of the code."""

SECRETS = {
    "CLICKHOUSE_URL": "clickhouses://mailwake@clickhouse.clickhouse.svc:9440/mailwake",
    "MAILWAKE_RELAY_NEXT": "smtp+tls://mailwake:secret@smtp.example.com",
    "MAILWAKE_DIGEST_SMTP": "smtp+tls://mailwake:secret@smtp.example.com",
}
"""Settings that may hold a password, with what may stand in their Secrets."""
ARROWS = {
    "CLICKHOUSE_URL": "mailwake/clickhouse",
    "MAILWAKE_RELAY_NEXT": "mailwake/smtp",
    "MAILWAKE_COMPOSE_RELAY": "mailwake/relay",
}
"""Who is told where something is, may go there, and nobody else may."""
LASTING = {"edge", "enricher", "relay"}
"""Services that keep something on a disk (MAILWAKE_STATE)."""
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclasses.dataclass
class Pod:
    """A pod that something makes, with its one container.

    Attributes:
        owner: the Deployment, StatefulSet, Job or CronJob.
        environ: as the container gets it, Secrets with a value such as they may have.
    """

    owner: Object
    spec: Object
    labels: dict[str, str]
    container: Object
    environ: dict[str, str]

    @property
    def name(self) -> str:
        return name_of(self.owner)

    @property
    def ports(self) -> dict[str, int]:
        return {each["name"]: each["containerPort"] for each in self.container.get("ports", [])}

    @property
    def is_service(self) -> bool:
        return self.owner["kind"] not in ("Job", "CronJob")

    def setting(self) -> Settings:
        """Raises ConfigError."""
        return read_settings(self.environ)


class Cluster:
    """Rendered objects, and what stands in them."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects = objects
        self.pods = [
            self._pod(each)
            for each in objects
            if each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
        ]

    def of(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def _pod(self, owner: Object) -> Pod:
        spec = owner["spec"]
        template = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]
        (container,) = template["spec"]["containers"]
        maps = {each["metadata"]["name"]: each["data"] for each in self.of("ConfigMap")}
        environ: dict[str, str] = {}
        for source in container.get("envFrom", []):
            environ |= maps.get(source.get("configMapRef", {}).get("name"), {})
        for each in container.get("env", []):
            by = each.get("valueFrom", {})
            value = "enricher-0" if "fieldRef" in by else SECRETS.get(each["name"], "")
            environ[each["name"]] = each.get("value", value)
        labels = template["metadata"].get("labels", {})
        return Pod(owner, template["spec"], labels, container, environ)

    def selected(self, selector: Mapping[str, object]) -> list[Pod]:
        """The pods that a label selector takes."""
        wanted = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
        assert isinstance(wanted, Mapping)
        return [each for each in self.pods if wanted.items() <= each.labels.items()]


Faults = Iterator[str]


def every_service_is_deployed(cluster: Cluster) -> Faults:
    commands = {each.name for each in COMMANDS}
    deployed = [pod.container["args"][0] for pod in cluster.pods]
    for name in sorted(SERVICES - set(deployed)):
        yield f"the service {name} is deployed nowhere"
    for pod in cluster.pods:
        if pod.container["args"][0] not in commands:
            yield f"{pod.name}: {pod.container['args'][0]} is no command of ours"
        if pod.is_service and pod.owner["metadata"]["name"] != pod.container["args"][0]:
            yield f"{pod.name}: is not named as the service that it runs"


def images_have_our_version(cluster: Cluster) -> Faults:
    for pod in cluster.pods:
        image = pod.container["image"]
        if image.rpartition(":")[2] != __version__:
            yield f"{pod.name}: image {image} is not of this version, {__version__}"


def pods_are_restricted(cluster: Cluster) -> Faults:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/ (restricted)."""
    for pod in cluster.pods:
        own = pod.container.get("securityContext", {})
        shared = pod.spec.get("securityContext", {})
        wanted = {
            "runs as root": not (shared.get("runAsNonRoot") and shared.get("runAsUser", 0) > 0),
            "has no seccomp profile": shared.get("seccompProfile") != {"type": "RuntimeDefault"},
            "may escalate": own.get("allowPrivilegeEscalation") is not False,
            "is privileged": bool(own.get("privileged")),
            "has capabilities": own.get("capabilities") != {"drop": ["ALL"]},
            "may write its root": not own.get("readOnlyRootFilesystem"),
            "has a token": pod.spec.get("automountServiceAccountToken") is not False,
            "gets service links": pod.spec.get("enableServiceLinks") is not False,
            "is on the host": any(
                pod.spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")
            ),
            "has a path of the host": any(
                "hostPath" in each for each in pod.spec.get("volumes", [])
            ),
        }
        yield from (f"{pod.name}: {what}" for what, wrong in wanted.items() if wrong)
    for each in cluster.of("Namespace"):
        if each["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{name_of(each)}: does not enforce the restricted standard"


def accounts_have_no_token(cluster: Cluster) -> Faults:
    accounts = {each["metadata"]["name"]: each for each in cluster.of("ServiceAccount")}
    for pod in cluster.pods:
        account = accounts.get(pod.spec.get("serviceAccountName", "default"))
        if account is None or account.get("automountServiceAccountToken") is not False:
            yield f"{pod.name}: has no ServiceAccount of its own without a token"
    if cluster.of("Role") or cluster.of("ClusterRole"):
        yield "a role: no pod of ours asks Kubernetes for anything"


def resources_are_bounded(cluster: Cluster) -> Faults:
    for pod in cluster.pods:
        resources = pod.container.get("resources", {})
        for what in ("requests", "limits"):
            for each in ("cpu", "memory"):
                if each not in resources.get(what, {}):
                    yield f"{pod.name}: has no {what} of {each}"


def probes_ask_what_is_served(cluster: Cluster) -> Faults:
    wanted = {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
    for pod in cluster.pods:
        for probe, path in wanted.items() if pod.is_service else ():
            get = pod.container.get(probe, {}).get("httpGet", {})
            if get != {"path": path, "port": "ops"}:
                yield f"{pod.name}: its {probe} does not ask {path} of the port ops"
        if pod.is_service and str(pod.ports.get("ops")) != pod.environ.get("MAILWAKE_OPS_PORT"):
            yield f"{pod.name}: its port ops is not the one it is set to"


def settings_are_ours(cluster: Cluster) -> Faults:
    for pod in cluster.pods:
        try:
            settings = pod.setting()
        except ConfigError as error:
            yield f"{pod.name}: {error}"
            continue
        served = pod.ports.values()
        for field in dataclasses.fields(Settings):
            name = field.metadata["name"]
            ours = name.startswith("MAILWAKE_") and name.endswith("_PORT")
            if not ours or name not in pod.environ or not pod.is_service:
                continue
            if getattr(settings, field.name) not in served:
                yield f"{pod.name}: {name} is no port of its container"


def secrets_stay_outside(cluster: Cluster) -> Faults:
    for each in cluster.of("Secret"):
        yield f"{name_of(each)}: a secret stands in the manifests"
    for each in cluster.of("ConfigMap"):
        for name in each["data"].keys() & SECRETS.keys():
            yield f"{name_of(each)}: {name} holds a password and belongs into a Secret"
    for pod in cluster.pods:
        for variable in pod.container.get("env", []):
            if variable["name"] in SECRETS and "secretKeyRef" not in variable.get("valueFrom", {}):
                yield f"{pod.name}: {variable['name']} does not come from a Secret"
        for volume in pod.spec.get("volumes", []):
            if "secret" in volume and volume["secret"].get("defaultMode", 0o644) & 0o007:
                yield f"{pod.name}: everybody in the pod may read the volume {volume['name']}"


def ways_are_closed(cluster: Cluster) -> Faults:
    """Every port has its policy, every policy its port, and nothing else goes."""
    policies = [each["spec"] for each in cluster.of("NetworkPolicy")]
    both = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if both not in policies:
        yield "no NetworkPolicy closes what none opens"
    opened: dict[str, set[int]] = {pod.name: set() for pod in cluster.pods}
    for policy in policies:
        for way in policy.get("ingress", []):
            if not way.get("from"):
                yield f"a NetworkPolicy of {policy['podSelector']} lets anybody in"
            pods = cluster.selected(policy["podSelector"])
            for port in (each["port"] for each in way.get("ports", [])):
                for pod in pods:
                    opened[pod.name].add(port)
                if not any(port in pod.ports.values() for pod in pods):
                    yield f"a NetworkPolicy opens port {port}, which no pod of it has"
    for pod in cluster.pods:
        for name, port in pod.ports.items():
            if port not in opened[pod.name]:
                yield f"{pod.name}: no NetworkPolicy lets anybody to its port {name}"


def arrows_are_those_of_the_design(cluster: Cluster) -> Faults:
    for pod in cluster.pods:
        for setting, label in ARROWS.items():
            if (setting in pod.environ) != (pod.labels.get(label) == "yes"):
                yield f"{pod.name}: {setting} and the label {label} go together"
        if pod.is_service and pod.labels.get("mailwake/kafka") != "yes":
            yield f"{pod.name}: every service goes to Kafka, and this one may not"


KAFKA_USERS = {"topics": SETUP}
"""Commands that are a user of Kafka by another name than their own."""
VOUCH = {"KAFKA_CA": "mailwake-kafka-ca", "CLICKHOUSE_CA": "mailwake-clickhouse-ca"}
"""Who vouches for a store's certificate, and in which Secret."""


def stores_are_spoken_to_securely(cluster: Cluster) -> Faults:
    """Kafka as a user of its own, and both with TLS, by Secrets of what is used and of no other."""
    users = rights(Settings())
    for pod in cluster.pods:
        settings = read_or_none(pod)
        if settings is None:
            continue
        command = pod.container["args"][0]
        wanted: dict[str, str] = {}
        if pod.labels.get("mailwake/kafka") == "yes":
            user = KAFKA_USERS.get(command, command)
            if settings.kafka_security != "sasl_ssl":
                yield f"{pod.name}: Kafka is not spoken to with TLS and as a user"
            if user not in users or settings.kafka_user != USER_PREFIX + user:
                yield f"{pod.name}: its user of Kafka is not {USER_PREFIX}{user}"
            wanted["KAFKA_PASSWORD_FILE"] = f"mailwake-kafka-{user}"
            wanted["KAFKA_CA"] = VOUCH["KAFKA_CA"]
        if pod.labels.get("mailwake/clickhouse") == "yes":
            if urlsplit(settings.clickhouse_url).scheme != "clickhouses":
                yield f"{pod.name}: ClickHouse is not spoken to with TLS"
            wanted["CLICKHOUSE_PASSWORD_FILE"] = "mailwake-clickhouse"
            wanted["CLICKHOUSE_CA"] = VOUCH["CLICKHOUSE_CA"]
        secrets = _mounted_secrets(pod)
        for name, secret in wanted.items():
            if secrets.get(pod.environ.get(name, "").rpartition("/")[0]) != secret:
                yield f"{pod.name}: {name} is no file of the Secret {secret}"
        stores = ("mailwake-kafka", "mailwake-clickhouse")
        for secret in sorted({*secrets.values()} - {*wanted.values()}):
            if secret.startswith(stores):
                yield f"{pod.name}: has the Secret {secret}, which it does not need"


def _mounted_secrets(pod: Pod) -> dict[str, str]:
    """The Secret that stands at each path."""
    secrets = {
        each["name"]: each["secret"]["secretName"]
        for each in pod.spec.get("volumes", [])
        if "secret" in each
    }
    mounts = pod.container.get("volumeMounts", [])
    return {each["mountPath"]: secrets[each["name"]] for each in mounts if each["name"] in secrets}


def stores_are_reached_at_their_ports(cluster: Cluster) -> Faults:
    """The way to a store is open at the port where it is looked for, and at no other."""
    ports = {
        each["metadata"]["name"]: {
            port["port"] for way in each["spec"].get("egress", []) for port in way.get("ports", [])
        }
        for each in cluster.of("NetworkPolicy")
    }
    for pod in cluster.pods:
        settings = read_or_none(pod)
        if settings is None:
            continue
        if pod.labels.get("mailwake/kafka") == "yes":
            asked = {int(each.rpartition(":")[2]) for each in settings.kafka_bootstrap.split(",")}
            if asked != ports.get("to-kafka"):
                yield f"{pod.name}: to-kafka does not open the port of KAFKA_BOOTSTRAP alone"
        if pod.labels.get("mailwake/clickhouse") == "yes":
            asked = {urlsplit(settings.clickhouse_url).port or 0}
            if asked != ports.get("to-clickhouse"):
                yield f"{pod.name}: to-clickhouse does not open the port of CLICKHOUSE_URL alone"


def scalers_are_users_too(cluster: Cluster) -> Faults:
    """KEDA asks Kafka as `lag`, at the address that the services have."""
    given = {each["metadata"]["name"]: each["spec"] for each in cluster.of("TriggerAuthentication")}
    (settings,) = (
        each["data"]
        for each in cluster.of("ConfigMap")
        if each["metadata"]["name"] == "mailwake-settings"
    )
    for each in cluster.of("ScaledObject"):
        for trigger in each["spec"]["triggers"]:
            asked = trigger["metadata"]
            if asked["bootstrapServers"] != settings["KAFKA_BOOTSTRAP"]:
                yield f"{name_of(each)}: asks another Kafka than the services"
            if (asked.get("sasl"), asked.get("tls")) != ("scram_sha512", "enable"):
                yield f"{name_of(each)}: asks Kafka without TLS or without a user"
            by = given.get(trigger.get("authenticationRef", {}).get("name"), {})
            refs = {ref["parameter"]: ref["name"] for ref in by.get("secretTargetRef", [])}
            user = "mailwake-kafka-lag"
            if refs != {"username": user, "password": user, "ca": VOUCH["KAFKA_CA"]}:
                yield f"{name_of(each)}: has no TriggerAuthentication of the user lag"


def services_lead_somewhere(cluster: Cluster) -> Faults:
    services = {each["metadata"]["name"]: each["spec"] for each in cluster.of("Service")}
    for name, spec in services.items():
        for port in spec["ports"]:
            pods = cluster.selected(spec["selector"])
            if not pods or any(port["targetPort"] not in pod.ports for pod in pods):
                yield f"Service/{name}: leads to no port {port['targetPort']}"
    for pod in cluster.pods:
        name = pod.owner["spec"].get("serviceName")
        if pod.owner["kind"] == "StatefulSet" and services.get(name, {}).get("clusterIP") != "None":
            yield f"{pod.name}: has no headless Service {name}"
    for each in cluster.of("Ingress"):
        for rule in each["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                ports = services.get(backend["name"], {}).get("ports", [])
                if backend["port"]["name"] not in [port["name"] for port in ports]:
                    yield f"{name_of(each)}: leads to no Service {backend['name']}"


def addresses_are_served(cluster: Cluster) -> Faults:
    """What mail points to comes in, over TLS, at the service that answers it."""
    wanted: dict[str, str] = {}
    for pod in cluster.pods:
        with_settings = read_or_none(pod)
        if with_settings is not None:
            wanted[urlsplit(with_settings.tracking_url).netloc] = "edge"
            wanted |= {each.host: "edge" for each in with_settings.tracking_domains}
            wanted[urlsplit(with_settings.withdrawal_url).netloc] = "api"
    served: dict[str, str] = {}
    for each in cluster.of("Ingress"):
        with_tls = {host for tls in each["spec"].get("tls", []) for host in tls["hosts"]}
        for rule in each["spec"]["rules"]:
            paths = rule["http"]["paths"]
            (served[rule["host"]],) = {path["backend"]["service"]["name"] for path in paths}
            if rule["host"] not in with_tls:
                yield f"{name_of(each)}: {rule['host']} has no TLS"
            if served[rule["host"]] == "edge" and {path["path"] for path in paths} != {
                "/o/",
                "/c/",
            }:
                yield f"{name_of(each)}: {rule['host']} serves more or less than /o/ and /c/"
    for host in sorted(wanted.items() ^ served.items()):
        yield f"{host[0]}: is not both in the settings and in the Ingress of {host[1]}"


def read_or_none(pod: Pod) -> Settings | None:
    """A pod's settings; None where they are wrong, which another rule tells."""
    try:
        return pod.setting()
    except ConfigError:
        return None


def what_lasts_has_a_volume(cluster: Cluster) -> Faults:
    for pod in cluster.pods:
        lasting = pod.container["args"][0] in LASTING
        if lasting != (pod.owner["kind"] == "StatefulSet"):
            yield f"{pod.name}: what keeps something on a disk is a StatefulSet, and nothing else"
        if not lasting:
            continue
        claims = {
            each["metadata"]["name"]: each["spec"]["resources"]["requests"]["storage"]
            for each in pod.owner["spec"].get("volumeClaimTemplates", [])
        }
        mounts = {each["mountPath"]: each["name"] for each in pod.container["volumeMounts"]}
        size = claims.get(mounts.get(pod.environ.get("MAILWAKE_STATE", ""), ""))
        if size is None:
            yield f"{pod.name}: MAILWAKE_STATE is on no volume that lasts"
        elif pod.container["args"][0] == "edge":
            settings = read_or_none(pod)
            spool = settings.edge_spool_mb * 2**20 if settings else 0
            if number_of(size) < spool * 1.1:
                yield f"{pod.name}: a volume of {size} is too small for the spool"
    for pod in cluster.pods:
        if pod.container["args"][0] == "enricher" and not any(
            each["name"] == "MAILWAKE_WORKER" and "fieldRef" in each.get("valueFrom", {})
            for each in pod.container.get("env", [])
        ):
            yield f"{pod.name}: MAILWAKE_WORKER is not the pod's name"


def number_of(quantity: str) -> int:
    """Bytes of a quantity such as 2Gi."""
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]


def pods_go_gently(cluster: Cluster) -> Faults:
    budgets = [each["spec"]["selector"] for each in cluster.of("PodDisruptionBudget")]
    for pod in cluster.pods:
        if not pod.is_service:
            continue
        if not any(pod in cluster.selected(selector) for selector in budgets):
            yield f"{pod.name}: no PodDisruptionBudget holds it"
        if len(pod.spec.get("topologySpreadConstraints", [])) < 2:
            yield f"{pod.name}: is not spread over zones and nodes"
        environ = {each["name"]: each.get("value") for each in pod.container.get("env", [])}
        drain_s = float(environ.get("MAILWAKE_DRAIN_S", 0))
        if pod.spec.get("terminationGracePeriodSeconds", 30) - drain_s < 30:
            yield f"{pod.name}: has less than 30 s to end"
        if set(pod.ports) - {"ops"} and not drain_s:
            yield f"{pod.name}: takes connections and does not wait before it goes"


def scaling_keeps_in_bounds(cluster: Cluster) -> Faults:
    owners = {(pod.owner["kind"], pod.owner["metadata"]["name"]): pod for pod in cluster.pods}
    scaled: dict[str, int] = {}
    for each in (*cluster.of("HorizontalPodAutoscaler"), *cluster.of("ScaledObject")):
        spec, target = each["spec"], each["spec"]["scaleTargetRef"]
        pod = owners.get((target["kind"], target["name"]))
        if pod is None:
            yield f"{name_of(each)}: scales nothing"
            continue
        if "replicas" in pod.owner["spec"]:
            yield f"{pod.name}: has replicas, though {name_of(each)} says how many"
        least = spec.get("minReplicas", spec.get("minReplicaCount"))
        most = spec.get("maxReplicas", spec.get("maxReplicaCount"))
        if not 0 < least <= most:
            yield f"{name_of(each)}: from {least} to {most} is no range"
        scaled[pod.name] = most
    for pod in cluster.pods:
        settings = read_or_none(pod)
        most = scaled.get(pod.name, pod.owner["spec"].get("replicas", 1))
        if pod.container["args"][0] == "enricher" and settings is not None:
            partitions = wanted_partitions(registry()["hits"], settings)
            if most > partitions:
                yield f"{pod.name}: {most} workers for {partitions} partitions, so some never work"


RULES: tuple[Callable[[Cluster], Faults], ...] = (
    every_service_is_deployed,
    images_have_our_version,
    pods_are_restricted,
    accounts_have_no_token,
    resources_are_bounded,
    probes_ask_what_is_served,
    settings_are_ours,
    secrets_stay_outside,
    ways_are_closed,
    arrows_are_those_of_the_design,
    stores_are_spoken_to_securely,
    stores_are_reached_at_their_ports,
    scalers_are_users_too,
    services_lead_somewhere,
    addresses_are_served,
    what_lasts_has_a_volume,
    pods_go_gently,
    scaling_keeps_in_bounds,
)


def faults(objects: Sequence[Object]) -> list[str]:
    """All that is wrong, a line each."""
    cluster = Cluster(objects)
    return [fault for rule in RULES for fault in rule(cluster)]
