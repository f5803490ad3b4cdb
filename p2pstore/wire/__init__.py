"""What is written down in bytes: frames and messages of the job socket, records on disk. No IO here."""
