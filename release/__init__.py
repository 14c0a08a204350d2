"""What a release is checked by, and what travels with it; run from a checkout, in no wheel."""
