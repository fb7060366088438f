"""The paper's benchmark in five parts, with this project's own texts: associations, modality, code, logic, graphs."""
