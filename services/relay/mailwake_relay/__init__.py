"""The relay: instruments mail on its way out."""
