"""What the probes, the aggregator, the front end and the operator's command share."""

__version__ = "1.0.0"
