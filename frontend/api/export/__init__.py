"""`/api/v1/export`: round trips as files for simulators; a module a format."""
