"""Peer: PyTorch as its tutorials have it, with a DataLoader (in its best form: no workers, batched fetch)."""

import torch
from peer import BATCH_SIZE, LR, MOMENTUM, REG, load, serve
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

images, labels = load()
data = TensorDataset(torch.from_numpy(images).float().div_(255), torch.from_numpy(labels).long())
loader = DataLoader(data, BATCH_SIZE, shuffle=True)
layer = torch.nn.Linear(784, 10)
optimizer = torch.optim.SGD(
    [{"params": [layer.weight], "weight_decay": REG}, {"params": [layer.bias]}], lr=LR, momentum=MOMENTUM
)


def epoch() -> None:
    """One pass over the rows in a new order."""
    for X, y in loader:
        optimizer.zero_grad()
        cross_entropy(layer(X), y).backward()
        optimizer.step()


serve(f"PyTorch {torch.__version__}", {"epoch": epoch})
