"""What does the model see? Steps from images to numbers, and other people's pictures as MNIST images."""
