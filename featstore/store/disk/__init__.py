"""What is on the disk: files, containers, tables, segments, versions, and how they get there."""
