"""The settings of the local Kafka: one KRaft node on 127.0.0.1, and where it logs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mailwake_local.ports import HOST

# One node holds the only replica of everything. A first group join waits for nobody. Few offsets
# partitions and a small cleaner buffer (128 MB otherwise, a quarter of the heap) start sooner.
# After a crash the controller refuses the broker until the session of the crashed one is over,
# which would be 9 s.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners={listener}://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners={listener}://{host}:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller_port}
log.dirs={folder}/data
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=10
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.retention.check.interval.ms=60000
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
"""

# Users with passwords over TLS, who may do nothing but what an ACL says. The controller's listener
# is this machine's own, and knows no users.
SECURE_PROPERTIES = """\
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={certificate}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{admin};User:ANONYMOUS
"""


@dataclass(frozen=True)
class Security:
    """A Kafka that asks who comes: TLS, SCRAM-SHA-512, and ACLs (KRaft's StandardAuthorizer).

    Attributes:
        certificate: the chain for 127.0.0.1 (PEM), which clients trust too.
        key: its key (PEM, PKCS #8).
        passwords: of each user; they are made when the folder is.
        admin: the user who may do everything.
    """

    certificate: Path
    key: Path
    passwords: Mapping[str, str]
    admin: str = "admin"

    def scram(self) -> list[str]:
        """The users as Kafka's formatting takes them."""
        return [
            f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]"
            for name, password in self.passwords.items()
        ]


# kafka.log holds a run each, three kept; errors also go to kafka.out, where the JVM's own stand.
LOGGING_PROPERTIES = """\
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={folder}/kafka.log
appender.file.filePattern={folder}/kafka.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %c{{1}}: %m%n
appender.file.policies.type=Policies
appender.file.policies.start.type=OnStartupTriggeringPolicy
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.fileIndex=min
appender.file.strategy.max=2
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{{1}}: %m%n
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
rootLogger.appenderRef.out.ref=out
rootLogger.appenderRef.out.level=error
logger.config.name=org.apache.kafka.common.config.AbstractConfig
logger.config.level=warn
logger.server.name=kafka.server.KafkaConfig
logger.server.level=warn
"""


def write_server(
    folder: Path, port: int, controller_port: int, security: Security | None = None
) -> None:
    """Writes `server.properties` for a node that keeps its data in `folder`/data.

    The controller's port is only between the node and itself: KRaft's single voter takes up
    whichever it is given, also when it differs from the one at formatting.
    """
    text = SERVER_PROPERTIES.format(
        listener="SASL_SSL" if security else "PLAINTEXT",
        host=HOST,
        port=port,
        controller_port=controller_port,
        folder=_escaped(folder),
    )
    if security:
        text += _secure(folder, security)
    path = folder / "server.properties"
    path.touch()
    path.chmod(0o600)  # it may hold the admin's password
    path.write_text(text, "ascii")


def _secure(folder: Path, security: Security) -> str:
    keystore = folder / "keystore.pem"
    keystore.touch(0o600)
    keystore.write_bytes(security.key.read_bytes() + security.certificate.read_bytes())
    login = (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="{security.admin}" password="{security.passwords[security.admin]}";'
    )
    return SECURE_PROPERTIES.format(
        login=login,
        keystore=_escaped(keystore),
        certificate=_escaped(security.certificate),
        admin=security.admin,
    )


def write_logging(folder: Path) -> Path:
    """Writes `log4j2.properties` for logs in `folder`, and says where."""
    path = folder / "log4j2.properties"
    path.write_text(LOGGING_PROPERTIES.format(folder=_escaped(folder)), "ascii")
    return path


def _escaped(path: Path) -> str:
    # What a Java properties file wants happens to be what JSON writes in a string.
    return json.dumps(str(path))[1:-1]
