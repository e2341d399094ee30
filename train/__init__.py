"""Data, teacher and student: everything up to a trained student on disk."""
