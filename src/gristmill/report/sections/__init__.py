"""What the page tells, one file a section, in the order of the journey."""
