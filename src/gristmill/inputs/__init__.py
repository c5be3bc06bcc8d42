"""What users name: files and their lines, folders, addresses of remote storage."""
