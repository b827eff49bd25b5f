"""The probe: ridge regression from frozen features to physical quantities."""
