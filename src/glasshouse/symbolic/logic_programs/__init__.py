"""Logic and algebra written by a model: parsed into small typed trees within limits, and never executed."""
