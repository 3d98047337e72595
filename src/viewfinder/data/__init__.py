"""Where pictures come from (one source a file), how they are split, batched and augmented."""
