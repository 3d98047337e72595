"""The experiments as a plain PyTorch loop without Viewfinder, as a reference for its scores.

    python bench/plain_loop.py PICTURES custom_cnn --seed 1

PICTURES contains train/<class>/ and test/<class>/. The recipe is the same: a random fifth of train/ for validation,
batches of 32, Adam at 1e-3, cross entropy, 10 epochs, pixels scaled to 0..1. Prints a line an epoch, then a JSON line.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor


def block(inputs: int, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for channels in (inputs, width):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width)]
    return [*layers, nn.MaxPool2d(2), nn.Dropout(0.25)]


def dense(inputs: int, width: int) -> list[nn.Module]:
    return [nn.Linear(inputs, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Dropout(0.5)]


NETWORKS = {
    "mlp": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 32 * 32, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
    ),
    "simple_cnn": lambda: nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(10, 10, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(10 * 16 * 16, 10),
    ),
    "custom_cnn": lambda: nn.Sequential(
        *block(3, 32),
        *block(32, 64),
        *block(64, 128),
        *block(128, 256),
        nn.Flatten(),
        *dense(1024, 512),
        *dense(512, 1024),
        nn.Linear(1024, 10),
    ),
}


def load_images(root: str, split: str) -> TensorDataset:
    """Return the images and labels of a split: (N, 3, 32, 32) uint8 and (N,) int64."""
    folder = ImageFolder(f"{root}/{split}", transform=pil_to_tensor)
    return TensorDataset(torch.stack([image for image, _ in folder]), torch.tensor(folder.targets))


def score(network: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Return mean loss and accuracy over all images."""
    network.eval()
    loss, right, count = 0.0, 0, 0
    with torch.inference_mode():
        for pixels, labels in loader:
            logits = network(pixels / 255)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
    return loss / count, right / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    everything, test = load_images(args.pictures, "train"), load_images(args.pictures, "test")
    train, val = random_split(everything, (len(everything) - len(everything) // 5, len(everything) // 5))
    train_loader = DataLoader(train, batch_size=32, shuffle=True)
    val_loader, test_loader = (DataLoader(split, batch_size=512) for split in (val, test))

    network = NETWORKS[args.network]()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    started = time.time()
    for epoch in range(1, args.epochs + 1):
        network.train()
        for pixels, labels in train_loader:
            loss = nn.functional.cross_entropy(network(pixels / 255), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        val_loss, val_accuracy = score(network, val_loader)
        seconds = time.time() - started
        print(f"epoch {epoch:2}  val loss {val_loss:.4f}  val accuracy {val_accuracy:.4f}  {seconds:.0f} s", flush=True)
    val_loss, val_accuracy = score(network, val_loader)
    test_loss, test_accuracy = score(network, test_loader)
    result = {"network": args.network, "seed": args.seed, "val": val_accuracy, "test": test_accuracy, "loss": test_loss}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
