"""Solvers: chaining with proofs, Z3, SymPy, python-sat, clingo and OR-tools; every answer comes with what shows it."""
