"""What the commands do: the main flow of each, and what it is asked to do."""
