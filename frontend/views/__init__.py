"""What a page or an answer says, computed from the data: pure, without Flask and tables."""
