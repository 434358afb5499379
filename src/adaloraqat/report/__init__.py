"""What a reader sees: numbers, tables, pictures, figures and pages of scores that are there already."""
