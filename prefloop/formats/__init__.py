"""Files in and out: one small reader a format, each `(path) -> Iterator[Record]`, and the writers for export."""
