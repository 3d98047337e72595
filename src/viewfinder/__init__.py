"""Config-driven image-classification experiments; the commands are in viewfinder.train and viewfinder.commands."""
