"""Wrong labels: found, reviewed, repaired."""
