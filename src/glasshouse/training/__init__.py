"""The engine: one trainer for every objective, its order of data, schedules, optimisers, checkpoints and meters."""
