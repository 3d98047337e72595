"""Configuration: from command line and YAML to validated, trusted and constructed objects."""
