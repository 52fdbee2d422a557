"""Data package: YAML files only."""
