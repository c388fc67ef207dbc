"""The embedded local AWS: the whole pipeline on this machine, on a simulated planet."""
