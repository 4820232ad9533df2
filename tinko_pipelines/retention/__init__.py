"""What is kept for how long: found, told, and removed where a setting says so. Money is never removed."""
