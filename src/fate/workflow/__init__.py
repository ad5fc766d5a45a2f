"""What users write: files, templates, the Python builder, tools; and their expansion."""
