"""Downloads: scripts, reports and statements."""
