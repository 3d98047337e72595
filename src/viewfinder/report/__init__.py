"""What is made of a run's numbers: computed first, then drawn."""
