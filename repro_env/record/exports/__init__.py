"""A run as other tools know it: one pure function a format, from the record to a document."""
