"""Many runs that differ in a few values, as one thing: planned, continued, and summed up."""
