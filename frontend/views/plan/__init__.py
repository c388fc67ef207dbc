"""Where to put replicas: latencies that follow from measured ones, and the best sets of regions."""
