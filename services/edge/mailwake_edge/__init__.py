"""The edge: pixel and click collectors."""
