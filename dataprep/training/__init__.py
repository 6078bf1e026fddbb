"""Around the trainer: its settings from files and flags, what it reads, says and logs."""
