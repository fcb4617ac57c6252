"""Checkpoints for the Hugging Face Hub: what is checked before a job begins, the upload, and the one commit."""
