"""The operator's room: templates, deployment, and the command `python -m infra`."""
