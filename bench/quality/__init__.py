"""How often the verdicts are right, measured on simulated traffic whose makers are known.

The simulator knows nothing of the rules: its parameters stand in parameters.toml with their
sources, and were chosen without a look at them. docs/quality.md tells what is simulated.
"""
