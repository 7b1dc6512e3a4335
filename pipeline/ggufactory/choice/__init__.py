"""Which rung for which memory."""
