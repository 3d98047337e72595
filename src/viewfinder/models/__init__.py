"""Networks, one per file.

A network is a torch.nn.Module. Its constructor takes `channels` and `classes` from the data, and the arguments of its
YAML file. It maps float images (N, channels, H, W) to logits (N, classes). Its attribute `preprocess` states how uint8
images are resized and normalised before they reach it. If its argument `weights` accepts None, a finished run is
rebuilt with None and loads its own checkpoint. A network that needs the original value to be rebuilt takes
`load_weights` as well, which is then False. A method `initialize_from_images`, if there is one, receives training
images, (N, channels, H, W) float, before the first step of a new run.
"""
