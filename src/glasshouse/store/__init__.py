"""The ground floor: artifacts, manifests, steps, recipes, claims and lineage. It knows nothing of models."""
