"""What there is to show, read from the tables: held in memory, or asked for on request."""
