"""A built-in subset of MNIST: it works with no network at all. Made by `mnist_softmax.sample.make`."""
