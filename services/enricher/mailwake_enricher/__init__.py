"""The enricher, where meaning is made, and the loader that writes ClickHouse."""
