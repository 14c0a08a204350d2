"""Kafka and ClickHouse for one machine, and the supervisor that runs the whole system there."""
