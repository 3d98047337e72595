"""What a frozen backbone makes of the pictures, computed once and kept."""
