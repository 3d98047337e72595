"""Exported networks: files for other programs, compared with their run, and read again."""
