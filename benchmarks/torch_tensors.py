"""Peer: PyTorch with whole tensors, float32, no DataLoader."""

import torch
from peer import BATCH_SIZE, LR, MOMENTUM, REG, load, serve
from torch.nn.functional import cross_entropy

images, labels = load()
X = torch.from_numpy(images).float().div_(255)
y = torch.from_numpy(labels).long()
layer = torch.nn.Linear(784, 10)
optimizer = torch.optim.SGD(
    [{"params": [layer.weight], "weight_decay": REG}, {"params": [layer.bias]}], lr=LR, momentum=MOMENTUM
)


def epoch() -> None:
    """One pass over the rows in a new order."""
    for rows in torch.randperm(len(X)).split(BATCH_SIZE):
        optimizer.zero_grad()
        cross_entropy(layer(X[rows]), y[rows]).backward()
        optimizer.step()


serve(f"PyTorch {torch.__version__}", {"epoch": epoch})
