"""Evidence: scores of saved masks, tables, figures and pages."""
