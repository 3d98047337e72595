"""The networks, one a file.

A network is a torch.nn.Module whose constructor takes `channels` and `classes` (handed over from the data) beside the
arguments in its YAML. It maps float pictures (N, channels, H, W) to logits (N, classes), and says in its attribute
`preprocess` what it wants done to uint8 pictures first. Where an argument `weights` may be None, a finished run is
opened without it: the weights are then those of the checkpoint. A network that must know all the same where they once
came from takes `load_weights`, which is handed over and then False.
"""
