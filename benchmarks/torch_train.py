"""Peer of the whole command `mnist-softmax train`: the same run in PyTorch, from the files to the weights.

Its best form: whole tensors in float32, no DataLoader, the data read by NumPy.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from peer import BATCH_SIZE, MOMENTUM, REG, load
from torch.nn.functional import cross_entropy

EPOCHS, LR, VAL_SIZE = 10, 0.2, 5000

images, labels = load()
torch.manual_seed(0)
order = torch.randperm(len(images))
X = torch.from_numpy(images).float().div_(255)
y = torch.from_numpy(labels).long()
X_train, y_train = X[order[VAL_SIZE:]], y[order[VAL_SIZE:]]
X_validation, y_validation = X[order[:VAL_SIZE]], y[order[:VAL_SIZE]]
layer = torch.nn.Linear(784, 10)
optimizer = torch.optim.SGD(
    [{"params": [layer.weight], "weight_decay": REG}, {"params": [layer.bias]}], lr=LR, momentum=MOMENTUM
)
steps = EPOCHS * math.ceil(len(X_train) / BATCH_SIZE)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
for epoch in range(EPOCHS):
    for rows in torch.randperm(len(X_train)).split(BATCH_SIZE):
        optimizer.zero_grad()
        cross_entropy(layer(X_train[rows]), y_train[rows]).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        accuracy = (layer(X_validation).argmax(1) == y_validation).float().mean().item()
    print(f"epoch {epoch + 1}: validation accuracy {accuracy:.4f}")
parameters = torch.cat([layer.weight.detach().T, layer.bias.detach()[None]])
np.save(Path(sys.argv[2]) / "torch.npy", parameters.numpy())
