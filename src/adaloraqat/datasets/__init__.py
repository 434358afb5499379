"""Films with masks: manifests, published sources, splits, the audit, and phantoms. Free of torch."""
